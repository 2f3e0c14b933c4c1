"""Quantities from which small differences count: in few bytes these would be lost unseen, and so it is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from gradtx.core.held import is_held
from gradtx.core.quantity import behaviour_of
from gradtx.precision.hold import states_in
from tests.catalogue import FIRST, TRANSFORMATIONS
from tests.devices.placed import example
from tests.precision.held import gradients
from tests.refusals import refused

pytestmark = pytest.mark.slow

OTHERS = ("inner_state", "best_params")  # the best are handed out, no more
AVERAGES = {"average", "slow"}  # which are rounded at random, and are evaluated with or stepped to, never subtracted
ANCHORED = [
    (gx.dog(), "init_params"),
    (gx.dowg(), "init_params"),
    (gx.scale_by_distance(), "init_params"),
    (gx.prodigy(), "params0"),
    (gx.cocob(), "init_particles"),
    (gx.madgrad(), "x0"),
    (gx.mechanize(gx.sgd(1.0)), "x0"),
    (gx.schedule_free_sgd(), "z"),
    (gx.sam(gx.sgd(0.1), transparent=True), "cache"),
    (gx.add_decayed_weights(0.1, toward_start=True), "start"),
    (gx.add_decayed_weights(0.1, toward_average=0.9), "average"),
    (gx.write_from_master(), "master"),
    (gx.scale_by_lbfgs(), "params"),
    (gx.scale_by_lbfgs(), "updates"),
    (optax.contrib.dog(1.0, init_step=("distance", 0.1)), "init_params"),
    (optax.contrib.prodigy(), "params0"),
]


@pytest.mark.parametrize(("tx", "name"), ANCHORED, ids=lambda x: x if isinstance(x, str) else "")
@pytest.mark.parametrize("codec", [gx.bfloat16(stochastic=False), gx.blocks(8, min_size=0)], ids=repr)
def test_a_point_from_which_small_differences_count_is_refused(tx, name, codec):
    held = gx.hold(tx, **{name: codec})
    words = "small differences from it, or small steps of it, are what counts, and would be lost"
    with refused(ValueError, f"hold: {name} can't be rounded: {words}; leave {name} as it is"):
        held.init({"w": jnp.ones(8), "half": jnp.ones(8, jnp.bfloat16)})


def copies(state, params):
    """The state with True at each array that is that of a parameter."""
    arrays = [x for x in jax.tree.leaves(params) if x.size > 1]
    return jax.tree.map(lambda x: any(jnp.shape(x) == p.shape and np.array_equal(x, p) for p in arrays), state)


def test_every_copy_of_the_parameters_in_a_state_is_such_a_point_or_an_average():
    params, found = example(), set()
    g = gradients(params, 1)
    for member in TRANSFORMATIONS:
        states = [member.tx.init(params)]
        if member in FIRST and member.needs_params:  # which may keep them at a step
            states.append(member.step(g, states[0], params)[1])
        for _, own, _ in [row for state in states for row in states_in(member.tx, copies(state, params))]:
            for name, tree in zip(own._fields, own, strict=True):
                if name not in OTHERS and True in jax.tree.leaves(tree):
                    assert behaviour_of(type(own), name).anchor or name in AVERAGES, (member.tx, name)
                    found.add(name)
    others = {"master", "updates"}  # a master is one of parameters of 16 bits, and updates are none
    assert found >= {name for tx, name in ANCHORED if isinstance(tx, gx.Transformation)} - others | AVERAGES


def test_what_a_rounded_start_would_do_to_a_distance():
    """Of parameters of 1 that have moved by 1e-4 each, a start in bfloat16 sees none of it, or a way of its own."""
    start = jnp.linspace(1.0, 2.0, 64, dtype=jnp.float32)
    now, tx = start + 1e-4, gx.scale_by_dog(reps=0.0)
    state = tx.init(start)
    _, after = tx.update(now, state, now)
    np.testing.assert_allclose(after.max_dist, 8e-4, rtol=1e-3)
    rounded = state._replace(init_params=start.astype(jnp.bfloat16).astype(jnp.float32))
    _, after = tx.update(now, rounded, now)
    assert float(after.max_dist) > 10 * 8e-4


def test_an_average_beside_a_decay_that_has_none_may_be_held():
    tx = gx.chain(gx.add_decayed_weights(0.1, toward_start=True), gx.sgd(0.1), gx.average_parameters())
    state = gx.hold(tx, average=gx.bfloat16).init(jnp.ones(8, jnp.float32))
    assert (gx.find(state, "2/average").dtype, gx.find(state, "start").dtype) == (jnp.bfloat16, jnp.float32)


def test_the_other_quantities_of_such_a_state_may_be_held():
    w = jnp.ones((64, 64), jnp.float32)
    tx = gx.hold(gx.prodigy(), exp_avg=gx.bfloat16, exp_avg_sq=gx.bfloat16)
    _, state = tx.update(w, tx.init(w), w)
    kinds = [is_held(gx.find(state, name)) for name in ("exp_avg", "exp_avg_sq", "grad_sum", "params0")]
    assert kinds == [True, True, False, False]
