"""Programs compute how long a phase is, and some of these lengths are 0: then what follows it holds from the start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx

ENDS = {
    "warmup": (gx.warmup(0.3, 0), [0.3, 0.3]),
    "linear": (gx.linear(1.0, 0.2, 0), [0.2, 0.2]),
    "polynomial": (gx.polynomial(1.0, 0.2, 0, 2.0), [0.2, 0.2]),
    "cosine": (gx.cosine(1.0, 0, floor=0.1), [0.1, 0.1]),
    "no warmup": (gx.warmup_stable_decay(1.0, 2, 0, 1), [1.0, 1.0, 0.0]),
    "no decay": (gx.warmup_stable_decay(1.0, 2, 2, 0), [0.5, 1.0, 0.0]),
    "nothing at all": (gx.warmup_stable_decay(1.0, 0, 0, 0, floor=0.1), [0.1, 0.1]),
    "one cycle": (gx.one_cycle(1.0, 0, end_share=0.5), [0.5, 0.5]),
    "its momentum": (gx.one_cycle_momentum(0, high=0.9), [0.9, 0.9]),
    "no first piece": (gx.piecewise_constant((0, 1), (1.0, 2.0, 3.0)), [2.0, 3.0]),
    "no piece between": (gx.piecewise_constant((1, 1), (1.0, 2.0, 3.0)), [1.0, 3.0]),
    "joined at 0": (gx.constant(1.0).then(gx.linear(0.5, 0.0, 2), at=0), [0.5, 0.25, 0.0]),
    "joined twice at once": (gx.constant(1.0).then(0.5, at=1).then(0.2, at=1), [1.0, 0.2]),
}


@pytest.mark.parametrize(("schedule", "values"), ENDS.values(), ids=ENDS.keys())
def test_the_end_holds_from_the_first_step(schedule, values):
    counts = jnp.arange(len(values))
    np.testing.assert_allclose(schedule(counts), values, rtol=1e-6)
    as_argument = jax.jit(lambda schedule, counts: schedule(counts))
    np.testing.assert_allclose(as_argument(schedule, counts), values, rtol=1e-6)


def test_a_computed_warmup_of_no_steps():
    steps = 50
    warmup_steps = int(0.01 * steps)
    rate = gx.warmup(0.1, warmup_steps).then(gx.cosine(0.1, steps - warmup_steps), at=warmup_steps)
    np.testing.assert_allclose(rate(jnp.arange(3)), gx.cosine(0.1, steps)(jnp.arange(3)), rtol=1e-6)


def test_slopes_are_finite():
    """A length of zero divides nothing, in derivatives neither."""
    for schedule in (gx.linear(1.0, 0.2, 0), gx.warmup(0.3, 0), gx.cosine(1.0, 0), gx.polynomial(1.0, 0.2, 0, 0.5)):
        slope = jax.grad(lambda schedule: schedule(jnp.array(1)), allow_int=True)(schedule)
        floats = [x for x in jax.tree.leaves(slope) if x.dtype != jax.dtypes.float0]
        assert floats
        assert all(jnp.isfinite(x).all() for x in floats)
