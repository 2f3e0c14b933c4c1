"""torch's optimizers of the parameters `w`, by rule, each with ours. What stands before a semicolon runs ahead of every
step; a scheduler moves on after it.
"""

import gradtx as gx
from tests.row import Row

FALLING = gx.exponential(1e-3, 0.95, every=1)
L2 = gx.add_decayed_weights(0.1)
FIRST_WHOLE = gx.constant(0.0).then(gx.constant(0.5), at=1)


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
