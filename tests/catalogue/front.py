"""What stands in front of an optimizer, and optimizers that are made of it."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

import gradtx as gx
from tests.catalogue.member import Member

SCALES = (1.0, -0.5, 4.0)  # of the examples; powers of two, which round nothing


@gx.transformation
def as_examples():
    """A gradient of each of three examples, made of one: the laws have no other."""

    def update(updates: Any, state: Any, params: Any = None):
        return jax.tree.map(lambda u: jnp.stack([c * u for c in SCALES]), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


OF_EXAMPLES: dict[str, Any] = dict(elementwise=False, printed=False)

FRONT = [
    Member(gx.mars(0.5, 0.5, 0.3), elementwise=False, once=True),
    Member(gx.grokfast(0.5), once=True),
    Member(gx.optimistic(0.5, 0.3), once=True),
    Member(gx.centralize(), elementwise=False, pairs=False, once=True),
    Member(gx.orthograd(0.1), needs_params=True, elementwise=False, once=True),
    Member(gx.zero_nans(), factored=True, once=True),
    Member(gx.zero_nans(infinities=True), factored=True, once=True),
    Member(gx.add_noise(0.1, 0.5, key=0), elementwise=False, once=True),
    Member(gx.zclip(4.0, 1.5, decay=0.9, warmup_steps=1, eps=1.0), elementwise=False, once=True),
    Member(gx.percentile_clip(50, window=2), elementwise=False, once=True),
    Member(gx.adagc(0.5, decay=0.5, max_norm=0.3, warmup_steps=1), elementwise=False, factored=True, once=True),
    Member(gx.chain(as_examples(), gx.per_example_clip(1.5)), **OF_EXAMPLES),
    Member(gx.chain(as_examples(), gx.per_example_clip_by_layer(1.5)), once=True, **OF_EXAMPLES),
    Member(gx.chain(as_examples(), gx.per_example_clip_by_layer(1.5, by_size=True)), once=True, **OF_EXAMPLES),
    Member(gx.chain(as_examples(), gx.private(1.5, 0.1, key=0, batch_size=2.0)), once=True, **OF_EXAMPLES),
    Member(gx.chain(as_examples(), gx.dpsgd(0.1, 1.5, 0.1, 0.9, key=0)), once=True, **OF_EXAMPLES),
    Member(gx.optimistic_gradient_descent(0.1, 0.5, 0.3), once=True),
    Member(gx.optimistic_adam(0.1, 0.5, 0.3), once=True),
    Member(gx.noisy_sgd(0.1, 0.1, 0.5, key=0), elementwise=False, once=True),
]
