"""What wraps any transformation, inside of what decides when and where one acts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import gradtx as gx
from tests.devices.placed import mesh_with
from tests.printed import TREE, loss

pytestmark = pytest.mark.slow

grad = jax.grad(loss)
WRAPPED = {
    "cautious": gx.chain(gx.cautious(gx.scale_by_adam()), gx.scale_by_learning_rate(0.1)),
    "lookahead": gx.lookahead(gx.sgd(0.1, momentum=0.5), 2),
    "schedule_free": gx.schedule_free_adamw(0.1, weight_decay=0.1),
    "sam": gx.sam(gx.sgd(0.1), 0.2),
    "transparent": gx.sam(gx.sgd(0.1), 0.2, transparent=True),
    "mechanize": gx.mechanize(gx.sgd(0.1), s_init=0.1),
}
every = pytest.mark.parametrize("tx", WRAPPED.values(), ids=WRAPPED)


def down(tx, start, factors, slope=grad):
    """The parameters, the last updates and the state on the way down with gradients times these."""

    @jax.jit
    def run(params):
        def step(carry, factor):
            params, state = carry
            g = jax.tree.map(lambda x: x * factor, slope(params))
            updates, state = tx.update(g, state, params, **gx.extra_for(tx, dict(grad_fn=slope)))
            params = gx.apply_updates(params, updates)
            return (params, state), updates

        (params, state), updates = jax.lax.scan(step, (params, tx.init(params)), jnp.asarray(factors))
        return params, updates, state

    return run(jax.tree.map(jnp.asarray, start))


def assert_equal(one, other, rtol=1e-12):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol, 1e-13), one, other)


@every
def test_a_step_that_is_not_finite_is_left_out(tx):
    guarded = gx.skip_nonfinite(tx)
    params, updates, state = down(guarded, TREE, [1.0, 1.0, np.nan, 1.0])
    assert not any(np.asarray(x[2]).any() for x in updates.values())
    expected, _, expected_state = down(tx, TREE, [1.0, 1.0, 1.0])
    assert_equal((params, state.inner_state), (expected, expected_state))


@every
def test_windows_are_its_steps(tx):
    params, _, state = down(gx.accumulate(tx, 2), TREE, [0.5, 1.5] * 3)
    expected, _, expected_state = down(tx, TREE, [1.0] * 3)
    assert_equal((params, state.inner_state), (expected, expected_state))


@every
def test_on_some_arrays_it_is_as_on_these_alone(tx):
    both = gx.partition((gx.by_path("m"), tx), default=gx.sgd(0.1))
    params, _, _ = down(both, TREE, [1.0] * 3)
    alone, _, _ = down(tx, {"m": TREE["m"]}, [1.0] * 3, jax.grad(lambda p: loss(p | {"v": jnp.zeros(3)})))
    assert_equal(params["m"], alone["m"])
    others, _, _ = down(gx.sgd(0.1), TREE, [1.0] * 3)
    assert_equal(params["v"], others["v"])


def test_cautious_as_a_block_on_some_arrays():
    tx = gx.masked(gx.cautious(gx.scale_by_lion(0.5, 0.5)), gx.by_path("m"))
    g = jax.tree.map(jnp.asarray, TREE)
    _, state = tx.update(g, tx.init(g))
    flipped = {"m": g["m"].at[0, 0].multiply(-0.5), "v": g["v"]}
    updates, _ = tx.update(flipped, state)
    np.testing.assert_allclose(updates["m"], np.sign(TREE["m"]) * np.where(np.arange(6).reshape(2, 3), 1.2, 0.0))
    assert_equal(updates["v"], g["v"])


def test_sam_on_parts_of_arrays_is_that_on_the_whole():
    """The norm of the step up is that of all parts; the law leaves out what takes a function."""
    mesh, specs = mesh_with(AxisType.Auto, data=2), {"w": PartitionSpec("data")}
    tx, w = gx.sam(gx.sgd(0.1), 0.5, 2), {"w": jnp.arange(1.0, 5.0)}

    def slope(w):
        return jax.tree.map(lambda x: x**3, w)

    def step(tx):
        return lambda w: tx.update(slope(w), tx.init(w), w, grad_fn=slope)[0]

    in_parts = jax.shard_map(step(gx.across(tx, "data")), mesh=mesh, in_specs=(specs,), out_specs=specs)
    assert_equal(jax.jit(in_parts)(w), step(tx)(w))
