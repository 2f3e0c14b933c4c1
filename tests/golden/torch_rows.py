"""torch's optimizers of the parameters `w`, by rule, each with ours. What stands before a semicolon runs ahead of every
step; a scheduler moves on after it.
"""

from typing import Any

import gradtx as gx
from tests.problems import OF_MATRICES
from tests.row import Row

FALLING = gx.exponential(1e-3, 0.95, every=1)
L2 = gx.add_decayed_weights(0.1)
FIRST_WHOLE = gx.constant(0.0).then(gx.constant(0.5), at=1)
FROM_25 = gx.constant(0.2).then(gx.power(0.2, 25, -0.5), at=24)  # min(0.2, 1/√t) at update t
LAST_TWO: dict[str, Any] = dict(min_dim=1, eps=0.0, dims=(-2, -1))
OUTPUTS_FIRST = gx.matrices(reduce=1, output=0)


ROWS = {
    "Gradient descent": [
        Row("SGD(w, 5e-4)", gx.sgd(5e-4)),
        Row("SGD(w, 5e-4, momentum=0.9)", gx.sgd(5e-4, 0.9)),
        Row("SGD(w, 5e-4, momentum=0.9, nesterov=True)", gx.sgd(5e-4, 0.9, nesterov=True)),
        Row("ExponentialLR(SGD(w, 1e-3, momentum=0.8), 0.95)", gx.sgd(FALLING, 0.8), "rate outside the velocity"),
        Row(
            "SGD(w, 5e-4, momentum=0.9, dampening=0.5)",
            gx.sgd(5e-4, 0.9, dampening=FIRST_WHOLE),
            "torch takes the first gradient whole",
        ),
        Row(
            "SGD(w, 5e-4, momentum=0.9, weight_decay=0.1)",
            gx.chain(L2, gx.sgd(5e-4, 0.9)),
            "L2: the decay enters the velocity",
        ),
    ],
    "RMSProp": [
        Row("RMSprop(w, 1e-3)", gx.rmsprop(1e-3, 0.99), "ε outside the root"),
        Row("RMSprop(w, 1e-3, alpha=0.9, eps=1e-3)", gx.rmsprop(1e-3, eps=1e-3)),
        Row("RMSprop(w, 1e-3, centered=True)", gx.rmsprop(1e-3, 0.99, centered=True)),
        Row("RMSprop(w, 1e-3, eps=1e-3, centered=True)", gx.rmsprop(1e-3, 0.99, 1e-3, centered=True)),
        Row(
            "ExponentialLR(RMSprop(w, 1e-3, momentum=0.8), 0.95)",
            gx.rmsprop(FALLING, 0.99, momentum=0.8),
            "rate outside the velocity",
        ),
        Row("RMSprop(w, 1e-3, weight_decay=0.1)", gx.chain(L2, gx.rmsprop(1e-3, 0.99)), "L2"),
    ],
    "Adam": [
        Row("Adam(w, 1e-2)", gx.adam(1e-2)),
        Row("Adam(w, 1e-2, betas=(0.8, 0.99), eps=1e-3)", gx.adam(1e-2, 0.8, 0.99, 1e-3)),
        Row("Adam(w, 1e-2, weight_decay=0.1)", gx.chain(L2, gx.adam(1e-2)), "L2"),
    ],
    "AdamW": [
        Row("AdamW(w, 1e-2)", gx.adamw(1e-2, weight_decay=1e-2), "decoupled, times the rate"),
        Row("AdamW(w, 1e-2, eps=1e-3, weight_decay=0.1)", gx.adamw(1e-2, eps=1e-3, weight_decay=0.1)),
        Row(
            "ExponentialLR(AdamW(w, 1e-3, weight_decay=0.1), 0.95)",
            gx.adamw(FALLING, weight_decay=0.1),
            "the decay falls with the rate",
        ),
    ],
    "NAdam": [
        Row("NAdam(w, 1e-2)", gx.nadam(1e-2, momentum_decay=4e-3), "the momentum rises to β₁"),
        Row("NAdam(w, 1e-2, eps=1e-3, momentum_decay=0.1)", gx.nadam(1e-2, eps=1e-3, momentum_decay=0.1)),
        Row(
            "NAdam(w, 1e-2, weight_decay=0.1)",
            gx.chain(L2, gx.nadam(1e-2, momentum_decay=4e-3)),
            "L2",
        ),
        Row(
            "NAdam(w, 1e-2, weight_decay=0.1, decoupled_weight_decay=True)",
            gx.nadamw(1e-2, weight_decay=0.1, momentum_decay=4e-3),
            "decoupled, times the rate",
        ),
    ],
    "RAdam": [
        Row("RAdam(w, 1e-2)", gx.radam(1e-2, eps_hat=True), "ε beside the uncorrected root"),
        Row("RAdam(w, 1e-2, betas=(0.8, 0.99), eps=1e-3)", gx.radam(1e-2, 0.8, 0.99, 1e-3, eps_hat=True)),
        Row(
            "RAdam(w, 1e-2, weight_decay=0.1)",
            gx.chain(L2, gx.radam(1e-2, eps_hat=True)),
            "L2",
        ),
        Row(
            "RAdam(w, 1e-2, weight_decay=0.1, decoupled_weight_decay=True)",
            gx.chain(gx.scale_by_radam(eps_hat=True), L2, gx.scale_by_learning_rate(1e-2)),
            "decoupled, times the rate",
        ),
    ],
    "AMSGrad": [
        Row("Adam(w, 1e-2, amsgrad=True)", gx.amsgrad(1e-2), "takes the maximum first, then corrects"),
        Row("Adam(w, 1e-2, eps=1e-3, amsgrad=True)", gx.amsgrad(1e-2, eps=1e-3)),
    ],
    "Adamax": [
        Row("Adamax(w, 1e-2)", gx.adamax(1e-2, eps=0.0, eps_max=1e-8), "ε inside the maximum"),
        Row("Adamax(w, 1e-2, betas=(0.8, 0.99), eps=1e-3)", gx.adamax(1e-2, 0.8, 0.99, 0.0, eps_max=1e-3)),
    ],
    "AdaGrad": [
        Row("Adagrad(w, 0.05)", gx.adagrad(0.05, eps=1e-10), "ε outside the root; starts at 0"),
        Row("Adagrad(w, 0.05, eps=1e-3)", gx.adagrad(0.05, eps=1e-3)),
        Row("Adagrad(w, 0.05, initial_accumulator_value=0.1)", gx.adagrad(0.05, eps=1e-10, initial=0.1)),
        Row(
            "Adagrad(w, 0.05, lr_decay=0.1)",
            gx.adagrad(gx.inverse_time(0.05, 0.1), eps=1e-10),
            "the rate falls with time besides",
        ),
    ],
    "AdaDelta": [
        Row("Adadelta(w)", gx.adadelta(), "the rate is 1"),
        Row("Adadelta(w, 0.5, rho=0.95, eps=1e-3)", gx.adadelta(0.5, 0.95, 1e-3)),
    ],
    "Further rules": [
        Row("Rprop(w, 1e-2)", gx.rprop(1e-2)),
        Row(
            "Rprop(w, 1e-2, etas=(0.6, 1.1), step_sizes=(1e-4, 0.05))",
            gx.rprop(1e-2, 0.6, 1.1, min_step=1e-4, max_step=0.05),
        ),
        Row("ASGD(w, 5e-4)", gx.asgd(5e-4)),
        Row("ASGD(w, 5e-4, lambd=0.1, alpha=0.5, t0=2)", gx.asgd(5e-4, 0.1, 0.5, 2)),
        Row("ASGD(w, 5e-4, weight_decay=0.1)", gx.chain(L2, gx.asgd(5e-4)), "L2 besides"),
    ],
    "Adafactor": [
        Row("Adafactor(w, 5e-3)", gx.adafactor(5e-3, **LAST_TWO)),
        Row(
            "Adafactor(w, 1e-2, beta2_decay=-0.5, eps=(None, 0.5), d=2.0)",
            gx.chain(
                gx.scale_by_factored_rms(0.5, **LAST_TWO),
                gx.clip_by_rms(2.0),
                gx.scale_by_learning_rate(1e-2),
                gx.scale_by_parameter_rms(0.5),
            ),
        ),
        Row(
            "Adafactor(w, 0.2, beta2_decay=-0.5, weight_decay=0.1)",
            gx.adafactor(FROM_25, decay_rate=0.5, weight_decay=0.02, **LAST_TWO),
            "the rate is min(0.2, 1/√t), and the decay times 0.2",
        ),
        Row(
            "Adafactor(w, 5e-3, eps=(0.01, 1e-3))",
            gx.adafactor(5e-3, 1, eps=1e-4, dims=(-2, -1)),
            "bounds the root below by ε₁, gradtx adds its ε to the squares; without ε is as far",
            apart=0.04,
        ),
    ],
    "Muon": [
        Row(
            "in_float64(Muon(w, 1e-2))",
            gx.muon(1e-2, weight_decay=0.1, eps=0.0, view=OUTPUTS_FIRST),
            "decoupled, times the rate alone",
        ),
        Row(
            "in_float64(Muon(w, 1e-2, 0.0, 0.9, nesterov=False))",
            gx.muon(1e-2, 0.9, nesterov=False, eps=0.0, view=OUTPUTS_FIRST),
        ),
        Row(
            "in_float64(Muon(w, 1e-2, adjust_lr_fn='match_rms_adamw'))",
            gx.muon(1e-2, weight_decay=0.1, scale=gx.rms_factor(0.2), eps=0.0, view=OUTPUTS_FIRST),
        ),
        Row(
            "in_float64(Muon(w, 1e-2, ns_coefficients=(15 / 8, -10 / 8, 3 / 8), ns_steps=2))",
            gx.muon(1e-2, weight_decay=0.1, coefficients=gx.newton_schulz_coefficients(2), eps=0.0, view=OUTPUTS_FIRST),
        ),
        Row(
            "Muon(w, 1e-2)",
            gx.muon(1e-2, weight_decay=0.1, eps=0.0, view=OUTPUTS_FIRST),
            "as it is: torch's products are in bfloat16",
            apart=2e-3,
        ),
    ],
    "Clipping": [
        Row("clip_grad_value_(w, 0.5); SGD(w, 1e-2)", gx.chain(gx.clip_by_value(0.5), gx.sgd(1e-2))),
        Row(
            "clip_grad_norm_(w, 100.0); SGD(w, 5e-4, momentum=0.9)",
            gx.chain(gx.clip_by_global_norm(100.0), gx.sgd(5e-4, 0.9)),
            "torch divides by the norm + 1e-6: where it clips, its gradients are shorter by the share 1e-6 / norm",
            apart=3e-9,
        ),
    ],
}

# Those whose states `from_torch` takes over, and those of matrices among them.
TAKEN_OVER = {row.call: row for rule, rows in ROWS.items() if rule not in OF_MATRICES for row in rows}
MATRICES_TAKEN_OVER = {row.call: row for rule in OF_MATRICES for row in ROWS[rule] if not row.apart}
