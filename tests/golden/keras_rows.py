"""Keras' optimizers, by rule, each with ours."""

from typing import Any

import jax.numpy as jnp

import gradtx as gx
from tests.golden.torch_rows import FROM_25
from tests.row import Row

RATE = gx.exponential(1e-3, 0.95, every=1)
FALLING = gx.scale_by_learning_rate(RATE)
LAST_TWO: dict[str, Any] = dict(min_dim=1, dims=(-2, -1))


@gx.schedule
def folded(eps: gx.Positive, b2: gx.Decay = 0.999):
    return lambda count: eps / jnp.sqrt(1 - b2 ** (count + 1))


ROWS = {
    "Gradient descent": [
        Row("SGD(5e-4)", gx.sgd(5e-4)),
        Row("SGD(5e-4, momentum=0.9)", gx.sgd(5e-4, 0.9)),
        Row("SGD(5e-4, momentum=0.9, nesterov=True)", gx.sgd(5e-4, 0.9, nesterov=True)),
        Row(
            "SGD(ExponentialDecay(1e-3, 1, 0.95), momentum=0.8)",
            gx.chain(FALLING, gx.scale_by_momentum(0.8)),
            "rate inside the velocity",
        ),
        Row(
            "SGD(ExponentialDecay(1e-3, 1, 0.95), momentum=0.8, nesterov=True)",
            gx.chain(FALLING, gx.scale_by_momentum(0.8, nesterov=True)),
            "rate inside the velocity",
        ),
        Row(
            "SGD(5e-4, momentum=0.9, weight_decay=0.1)",
            gx.chain(gx.scale_by_momentum(0.9), gx.add_decayed_weights(0.1), gx.scale_by_learning_rate(5e-4)),
            "decoupled: the decay does not enter the velocity",
        ),
        Row(
            "SGD(ExponentialDecay(1e-3, 1, 0.95), momentum=0.8, weight_decay=0.1)",
            gx.chain(
                FALLING,
                gx.scale_by_momentum(0.8),
                gx.scale(-1.0),
                gx.add_decayed_weights(0.1 * RATE),
                gx.scale(-1.0),
            ),
            "rate inside the velocity, decay outside of it and times the rate",
        ),
    ],
    "RMSProp": [
        Row("RMSprop(1e-3)", gx.rmsprop(1e-3, eps=0.0, eps_root=1e-7), "ε inside the root"),
        Row("RMSprop(1e-3, rho=0.99, epsilon=1e-3)", gx.rmsprop(1e-3, 0.99, eps=0.0, eps_root=1e-3)),
        Row("RMSprop(1e-3, centered=True)", gx.rmsprop(1e-3, eps=0.0, eps_root=1e-7, centered=True)),
        Row(
            "RMSprop(1e-3, epsilon=1e-3, centered=True)",
            gx.rmsprop(1e-3, eps=0.0, eps_root=1e-3, centered=True),
        ),
        Row(
            "RMSprop(ExponentialDecay(1e-3, 1, 0.95), momentum=0.8)",
            gx.chain(gx.scale_by_rms(eps=0.0, eps_root=1e-7), FALLING, gx.scale_by_momentum(0.8)),
            "rate inside the velocity",
        ),
    ],
    "Adam": [
        Row("Adam(1e-2)", gx.adam(1e-2, eps=folded(1e-7)), "the folded form"),
        Row("Adam(1e-2, 0.8, 0.99, 1e-3)", gx.adam(1e-2, 0.8, 0.99, folded(1e-3, 0.99)), "the folded form"),
    ],
    "AdamW": [
        Row("AdamW(1e-2)", gx.adamw(1e-2, eps=folded(1e-7), weight_decay=4e-3), "decoupled, times the rate"),
        Row("AdamW(1e-2, 0.1, epsilon=1e-3)", gx.adamw(1e-2, eps=folded(1e-3), weight_decay=0.1)),
        Row(
            "AdamW(ExponentialDecay(1e-3, 1, 0.95), 0.1)",
            gx.adamw(RATE, eps=folded(1e-7), weight_decay=0.1),
            "the decay falls with the rate",
        ),
    ],
    "NAdam": [
        Row("Nadam(1e-2)", gx.nadam(1e-2, eps=1e-7, momentum_decay=1.0), "the momentum rises to β₁; not folded"),
        Row("Nadam(1e-2, 0.8, 0.99, 1e-3)", gx.nadam(1e-2, 0.8, 0.99, 1e-3, momentum_decay=1.0)),
    ],
    "AMSGrad": [
        Row("Adam(1e-2, amsgrad=True)", gx.amsgrad(1e-2, eps=folded(1e-7)), "the folded form"),
        Row("Adam(1e-2, epsilon=1e-3, amsgrad=True)", gx.amsgrad(1e-2, eps=folded(1e-3)), "the folded form"),
    ],
    "Adamax": [
        Row("Adamax(1e-2)", gx.adamax(1e-2, eps=1e-7), "ε beside the maximum"),
        Row("Adamax(1e-2, 0.8, 0.99, 1e-3)", gx.adamax(1e-2, 0.8, 0.99, 1e-3)),
    ],
    "AdaGrad": [
        Row("Adagrad(0.05)", gx.adagrad(0.05, eps=0.0, eps_root=1e-7, initial=0.1), "ε inside the root; starts at 0.1"),
        Row("Adagrad(0.05, 0.0, 1e-3)", gx.adagrad(0.05, eps=0.0, eps_root=1e-3)),
    ],
    "AdaDelta": [
        Row("Adadelta(1.0)", gx.adadelta(1.0, 0.95, 1e-7), "Keras' own rate is 1e-3"),
        Row("Adadelta(0.5, epsilon=1e-3)", gx.adadelta(0.5, 0.95, 1e-3)),
    ],
    "Adafactor": [
        Row("in_float64(Adafactor(5e-3))", gx.adafactor(5e-3, **LAST_TWO)),
        Row(
            "in_float64(Adafactor(2e-3, -0.5, 1.0, 0.5, 2.0))",
            gx.chain(
                gx.scale_by_factored_rms(0.5, eps=1.0, **LAST_TWO),
                gx.clip_by_rms(2.0),
                gx.scale_by_learning_rate(2e-3),
                gx.scale_by_parameter_rms(0.5),
            ),
        ),
        Row(
            "in_float64(Adafactor(0.2, -0.5, weight_decay=0.1))",
            gx.adafactor(0.98 * FROM_25, decay_rate=0.5, weight_decay=0.02, **LAST_TWO),
            "the rate is min(0.2, 1/√t); the decay, times 0.2, comes first: the parameter's size is then 0.98 of it",
        ),
    ],
    "Muon": [
        Row(
            "in_float64(Muon(1e-2))",
            gx.muon(1e-2, weight_decay=4e-3, scale=gx.rms_factor(0.2), eps=5e-9),
            "its momentum is no average, 20 times as long: ε is a 20th",
        ),
        Row(
            "in_float64(Muon(1e-2, weight_decay=None, momentum=0.9, ns_steps=3, nesterov=False, rms_rate=None))",
            gx.muon(1e-2, 0.9, nesterov=False, coefficients=gx.jordan_coefficients(3), scale=None, eps=1e-8),
            "without a factor: the author's is not in Keras",
        ),
        Row(
            "Muon(1e-2, exclude_layers=['.'], adam_lr_ratio=0.5)",
            gx.chain(
                gx.scale_by_adam(eps=folded(1e-7)),
                gx.scale(0.5),
                gx.add_decayed_weights(4e-3),
                gx.scale_by_learning_rate(1e-2),
            ),
            "what is excluded: Adam, folded; its decay is times the rate alone",
        ),
    ],
    "Signs": [
        Row("Lion(1e-3)", gx.lion(1e-3, weight_decay=0.0), "no decay unless asked for"),
        Row("Lion(1e-3, 0.8, 0.95, weight_decay=0.1)", gx.lion(1e-3, 0.8, 0.95, 0.1)),
    ],
    "Clipping": [
        Row("SGD(1e-2, clipvalue=0.5)", gx.chain(gx.clip_by_value(0.5), gx.sgd(1e-2))),
        Row("SGD(1e-2, clipnorm=1.0)", gx.chain(gx.clip_by_norm(1.0), gx.sgd(1e-2)), "each array by itself"),
        Row(
            "SGD(5e-4, 0.9, global_clipnorm=100.0)",
            gx.chain(gx.clip_by_global_norm(100.0), gx.sgd(5e-4, 0.9)),
            "all arrays as one vector",
        ),
    ],
}
