"""Branches side by side: known optimizers as short expressions of blocks, and what parallel refuses."""

import functools
import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.budgets import cost
from tests.trees import tree


def moment(decay, *before):
    return gx.chain(*before, gx.ema(decay), gx.bias_correction(decay))


@gx.transformation
def adam(b1: gx.Decay = 0.9, b2: gx.Decay = 0.999, eps: gx.NonNegative = 1e-8):
    return gx.parallel(moment(b1), moment(b2, gx.square()), join=lambda m, v: m / (jnp.sqrt(v) + eps))


@gx.transformation
def rmsprop(decay: gx.Decay = 0.9, eps: gx.NonNegative = 1e-8):
    return gx.parallel(gx.identity(), gx.chain(gx.square(), gx.ema(decay)), join=lambda g, v: g / (jnp.sqrt(v) + eps))


@gx.transformation
def nadam(b1: gx.Decay = 0.9, b2: gx.Decay = 0.999, eps: gx.NonNegative = 1e-8):
    ahead = gx.chain(gx.ema(b1), gx.scale(lambda done: b1 / -jnp.expm1((done + 2.0) * jnp.log(b1))))
    now = gx.chain(gx.scale(1.0 - b1), gx.bias_correction(b1))
    return gx.parallel(ahead, now, moment(b2, gx.square()), join=lambda m, g, v: (m + g) / (jnp.sqrt(v) + eps))


@gx.composition
def grafted(decay: gx.Decay = 0.9):
    """The direction of RMSProp, the norm of momentum."""
    return gx.parallel(gx.scale_by_rms(decay), gx.scale_by_momentum(decay), join=graft)


def graft(direction, size):
    return direction * (gx.global_norm(size) / jnp.maximum(gx.global_norm(direction), 1e-30))


class GraftedState(NamedTuple):
    nu: dict
    trace: dict


@gx.transformation
def grafted_directly(decay: gx.Decay = 0.9, eps: gx.NonNegative = 1e-8):
    def update(g, state):
        nu = decay * state.nu + (1.0 - decay) * g**2
        trace = decay * state.trace + g
        direction = g / (jnp.sqrt(nu) + eps)
        return graft(direction, trace), dict(nu=nu, trace=trace)

    return gx.per_array(GraftedState, lambda p: dict(nu=jnp.zeros_like(p), trace=jnp.zeros_like(p)), update)


PAIRS = {
    "adam": (adam(), gx.scale_by_adam()),
    "rmsprop": (rmsprop(), gx.scale_by_rms(0.9)),
    "nadam": (nadam(), gx.scale_by_nadam()),
    "grafted": (grafted(), grafted_directly()),
}
pairs = pytest.mark.parametrize(("blocks", "direct"), PAIRS.values(), ids=PAIRS)


@pairs
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_blocks_side_by_side_are_the_direct_form(blocks, direct, dtype):
    @functools.partial(jax.jit, static_argnums=0)
    def step(update, g, state):
        return update(g, state)

    states = [tx.init(tree(dtype)["a"]) for tx in (blocks, direct)]
    for seed in range(1, 11):
        g = jax.tree.map(jnp.abs, tree(dtype, seed)["a"])  # where two terms cancel, no two orders of operations agree
        outputs = [step(tx.update, g, state) for tx, state in zip((blocks, direct), states, strict=True)]
        (ours, theirs), states = zip(*outputs, strict=True)
        for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_array_max_ulp(np.array(x), np.array(y), maxulp=4)


@pairs
@pytest.mark.usefixtures("float32")
def test_blocks_side_by_side_cost_no_more(blocks, direct):
    (accessed, temporary, held), direct_cost = cost(blocks.init, blocks.update), cost(direct.init, direct.update)
    assert accessed <= direct_cost[0] + 0.1
    assert temporary <= direct_cost[1] + 0.1
    assert held <= direct_cost[2] + 0.1


@pairs
def test_signs_and_zeros(blocks, direct):
    """Where two terms cancel, to the precision of the terms; zeros give zeros, not 0/0."""
    states = [tx.init(jnp.zeros(3)) for tx in (blocks, direct)]
    for g in (jnp.zeros(3), jnp.array([1.0, -2.0, 0.5]), jnp.array([-1.5, 1.0, 0.0])):
        outputs = [tx.update(g, state) for tx, state in zip((blocks, direct), states, strict=True)]
        (ours, theirs), states = zip(*outputs, strict=True)
        assert np.isfinite(ours).all()
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def test_numbers_in_the_formula_may_be_schedules_and_controlled():
    g = jnp.array([3.0])
    for eps in (1.0, gx.constant(1.0), gx.controlled(1.0), jnp.array(1.0)):
        tx = rmsprop(0.0, eps)
        np.testing.assert_allclose(tx.update(g, tx.init(g))[0], 0.75, rtol=1e-6)


def test_a_function_of_no_module_meets_an_empty_tree():
    """Its update is compiled for the value alone; without an array no tracer tells that call from one outside of it."""
    tx = gx.parallel(gx.identity(), gx.ema(0.9), join=lambda g, m: g + m)
    updates, state = tx.update({}, tx.init({}), {})
    assert updates == {}
    assert jax.tree.leaves(state) == []


def test_half_precision_is_rounded_once():
    """What a branch makes is joined as it was computed: a second moment below the least half would be zero else."""
    g = jnp.array([1e-4, -3e-4], jnp.float16)
    tx = gx.parallel(gx.identity(), gx.square(), join=lambda g, v: g / jnp.sqrt(v))
    updates, _ = tx.update(g, tx.init(g))
    np.testing.assert_array_equal(updates, np.array([1.0, -1.0], np.float16))


def test_a_branch_may_look_at_the_whole_tree_or_be_of_optax():
    g = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    tx = gx.chain(gx.scale(2.0), gx.parallel(gx.clip_by_global_norm(1.0), optax.scale(10.0), join=operator.add))
    updates, state = tx.update(g, tx.init(g))
    np.testing.assert_allclose(updates["b"], 0.8 + 80.0)
    assert float(gx.metrics(state)["norm"]) == 10.0
    alone = gx.parallel(gx.scale(3.0), join=jnp.negative)
    np.testing.assert_allclose(alone.update(g, alone.init(g))[0]["a"], -9.0)


def test_extra_arguments_reach_the_branches_that_take_them():
    plateau = gx.chain(gx.sgd(0.1), gx.reduce_on_plateau(0.5, patience=1))
    tx = gx.parallel(plateau, gx.sgd(0.1), join=operator.add)
    g, state = jnp.ones(2), None
    state = tx.init(g)
    for loss in (1.0, 2.0):
        updates, state = tx.update(g, state, value=loss)
    np.testing.assert_allclose(updates, -0.1 * 0.5 - 0.1)
    with pytest.raises(TypeError, match="reduce_on_plateau: update needs value"):
        tx.update(g, state)


def test_numbers_of_a_composition_around_it_are_swept():
    """The formula closes over numbers that are traced: no branch of it is compiled again."""
    decays = jnp.array([0.5, 0.9])
    txs = jax.vmap(lambda decay: rmsprop(decay))(decays)
    g = jnp.array([1.0, 2.0])
    together = jax.jit(jax.vmap(lambda tx: tx.update(g, tx.init(g))[0]))(txs)
    for row, decay in zip(together, (0.5, 0.9), strict=True):
        tx = rmsprop(decay)
        np.testing.assert_allclose(row, tx.update(g, tx.init(g))[0], rtol=1e-6)


def test_complex_arrays_reach_the_formula_as_pairs():
    g = tree(jnp.complex64)["a"]
    tx = gx.parallel(gx.identity(), gx.scale(2.0), join=lambda a, b: jnp.where(jnp.isrealobj(a), b - a, jnp.nan))
    updates, _ = tx.update(g, tx.init(g))
    jax.tree.map(np.testing.assert_allclose, updates, g)


REFUSED = {
    "it needs at least one branch": lambda: gx.parallel(join=operator.add),
    r"branches\[1\] must be a transformation, got a function; call it: sgd": lambda: gx.parallel(
        gx.identity(),
        gx.sgd,  # pyright: ignore[reportArgumentType]
        join=operator.add,
    ),
    r"join must be a function of 2 arrays, got <lambda>\(a\)": lambda: gx.parallel(
        gx.identity(), gx.identity(), join=lambda a: a
    ),
    "join must be a function of an array, got int 3": lambda: gx.parallel(gx.identity(), join=3),  # pyright: ignore[reportArgumentType]
    "missing a required": lambda: gx.parallel(gx.identity()),  # pyright: ignore[reportCallIssue]
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_it_refuses(message):
    with pytest.raises((TypeError, ValueError), match="parallel: .*" + message):
        REFUSED[message]()


def test_errors_at_update():
    g = jnp.ones((2, 3))
    flat = gx.parallel(gx.identity(), join=lambda a: a[0])
    with pytest.raises(
        ValueError, match=r"parallel: the formula made an update of shape \(3,\) from one of shape \(2, 3"
    ):
        flat.update(g, flat.init(g))
    two = gx.parallel(gx.identity(), gx.identity(), join=operator.add)
    with pytest.raises(ValueError, match="parallel: the state must be a tuple of 2, got 1 states"):
        two.update(g, two.init(g)[:1])
    tx = gx.parallel(gx.identity(), gx.add_decayed_weights(0.1), join=operator.add)
    with pytest.raises(ValueError, match="add_decayed_weights: update needs the parameters") as caught:
        tx.update(g, tx.init(g))
    assert "in branch 1 of a parallel, add_decayed_weights(weight_decay=0.1)" in caught.value.__notes__


def test_on_some_arrays_the_others_keep_their_updates():
    twice = gx.parallel(gx.sgd(0.1), gx.sgd(0.1), join=operator.add)
    g = {"m": jnp.ones(2), "v": jnp.ones(2)}
    tx = gx.partition((gx.by_path("m"), twice), default=gx.sgd(0.1))
    updates, _ = tx.update(g, tx.init(g), g)
    assert jax.tree.map(float, jax.tree.map(jnp.min, updates)) == {"m": -0.2, "v": -0.1}
