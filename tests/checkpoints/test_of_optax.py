"""A state of Optax goes on in gradtx, and the other way round: the next steps are the same."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.checkpoints.optax_rows import FALLING, PAIRS, PARAMS, counterpart, params_at, restored
from tests.refusals import refused

MIDDLE = 4  # steps, in a window of three
AHEAD = range(MIDDLE, 8)
BOUND = 1e-11  # of rounding in float64, relative


def grads_at(t):
    return jax.tree.map(lambda w: jnp.cos(1.7 * t + w + jnp.arange(1.0 * w.size).reshape(w.shape)), PARAMS)


def walk_along(tx: Any, state: Any, steps: Any) -> Any:
    """The updates of these steps, and the state behind them."""
    is_pair = isinstance(tx, optax.GradientTransformation)
    update, found = (optax.with_extra_args_support(tx) if is_pair else tx).update, []
    for t in steps:
        extra = dict(value=jnp.asarray([3.0, 2.0, 2.5, 2.6, 2.7, 2.8, 1.0, 2.0][t])) if is_pair else {}
        updates, state = update(grads_at(t), state, params_at(t), **extra)
        found.append(updates)
    return found, state


def same(found, expected, bound=BOUND):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=bound, atol=bound)


each = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.theirs)


@each
@pytest.mark.slow  # formulas do not turn on versions
def test_goes_on_as_optax_would(pair):
    theirs, ours = counterpart(pair), pair.ours
    state = walk_along(theirs, theirs.init(PARAMS), range(MIDDLE))[1]
    expected = walk_along(theirs, state, AHEAD)[0]
    assert any(np.any(x) for x in jax.tree.leaves(expected))
    shapes = jax.eval_shape(ours.init, PARAMS)
    for form in (state, restored(state)):
        taken = gx.from_optax(ours, params_at(MIDDLE), form)
        assert jax.tree.map(form_of, taken) == jax.tree.map(form_of, shapes)
        same(walk_along(ours, taken, AHEAD)[0], expected)
    same(gx.to_optax(ours, taken, theirs.init(PARAMS)), state)  # there and back


def form_of(x):
    return x.shape, x.dtype, x.weak_type


@each
@pytest.mark.slow
def test_optax_goes_on_as_gradtx_would(pair):
    theirs, ours = counterpart(pair), pair.ours
    state = walk_along(ours, ours.init(PARAMS), range(MIDDLE))[1]
    expected = walk_along(ours, state, AHEAD)[0]
    fresh = theirs.init(PARAMS)
    for like in [fresh, None] if pair.is_made else [fresh]:
        back = gx.to_optax(ours, state, like)
        assert jax.tree.structure(back) == jax.tree.structure(fresh)
        same(walk_along(theirs, back, AHEAD)[0], expected)


def test_the_state_is_equal_in_float32_too(float32):
    theirs, ours = optax.adamw(FALLING), gx.adamw(FALLING)
    params = jax.tree.map(np.float32, PARAMS)
    grads = jax.tree.map(np.cos, params)
    _, state = theirs.update(grads, theirs.init(params), params)
    taken = gx.from_optax(ours, params, state)
    same(taken, ours.update(grads, ours.init(params), params)[1], 1e-6)
    assert {str(x.dtype) for x in jax.tree.leaves(taken)} == {"float32", "int32"}


def test_lbfgs_goes_on_with_its_pairs():
    def loss(w):
        return sum(jnp.sum((x - 3.0) ** 2 + 0.1 * x**4) for x in jax.tree.leaves(w))

    def search_of(tx):
        @jax.jit
        def step(w, state):
            value, grad = jax.value_and_grad(loss)(w)
            updates, state = tx.update(grad, state, w, value=value, grad=grad, value_fn=loss)
            return optax.apply_updates(w, updates), state

        def search(w, state, steps):
            for _ in range(steps):
                w, state = step(w, state)
            return w, state

        return search

    theirs, ours = optax.lbfgs(memory_size=3), gx.lbfgs(memory_size=3)
    by_theirs, by_ours = search_of(theirs), search_of(ours)
    for steps in (0, 1, 5):
        w, state = by_theirs(PARAMS, theirs.init(PARAMS), steps)
        expected = by_theirs(w, state, 2)[0]
        for form in (state, restored(state)):
            same(by_ours(w, gx.from_optax(ours, w, form), 2)[0], expected, 1e-9)
        w, state = by_ours(PARAMS, ours.init(PARAMS), steps)
        expected = by_ours(w, state, 2)[0]
        back = gx.to_optax(ours, state)
        assert jax.tree.structure(back) == jax.tree.structure(theirs.init(PARAMS))
        same(by_theirs(w, back, 2)[0], expected, 1e-9)


def test_the_memory_of_lbfgs_is_turned_where_a_pair_was_left_out():
    tx = gx.scale_by_lbfgs(memory_size=3)
    w, state = jnp.zeros(2), tx.init(jnp.zeros(2))
    for at, g in ((0.0, 1.0), (1.0, 2.0), (2.0, 1.0), (3.0, 3.0), (4.0, 5.0)):  # the third has no positive curvature
        w = jnp.full(2, at)
        _, state = tx.update(jnp.array([g, 2.0 * g]), state, w)
    assert int(state.next_pair) != (int(state.count) - 1) % 3
    g, w = jnp.array([6.0, 13.0]), jnp.full(2, 5.0)
    theirs = optax.scale_by_lbfgs(memory_size=3)
    same(theirs.update(g, gx.to_optax(tx, state), w)[0], tx.update(g, state, w)[0])
    state = theirs.init(w)
    for at, g in ((0.0, 1.0), (1.0, 2.0), (2.0, 1.0)):
        _, state = theirs.update(jnp.array([g, 2.0 * g]), state, jnp.full(2, at))
    message = "weights_memory has a pair without positive curvature, which gradtx's L-BFGS leaves out; start anew"
    with refused(ValueError, f"from_optax: {message}"):
        gx.from_optax(tx, w, state)


# ---- forms ----


def test_the_form_that_orbax_restores(tmp_path):
    ocp = pytest.importorskip("orbax.checkpoint")
    states = {str(i): counterpart(pair).init(PARAMS) for i, pair in enumerate(PAIRS)}
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "states", states)
        checkpointer.wait_until_finished()
        found = checkpointer.restore(tmp_path / "states")
    assert jax.tree.structure(found) == jax.tree.structure(restored(states))


def test_tuples_that_became_dicts():
    theirs, ours = optax.chain(optax.clip(1.0), optax.adam(FALLING)), gx.chain(gx.clip_by_value(1.0), gx.adam(FALLING))

    def as_dicts(state: Any) -> Any:
        """As Flax's `to_state_dict` has it."""
        if isinstance(state, tuple):
            named: Any = getattr(state, "_asdict", lambda: {str(i): x for i, x in enumerate(state)})
            rows = named()
            return {name: as_dicts(x) for name, x in rows.items()}
        return state

    state = walk_along(theirs, theirs.init(PARAMS), range(MIDDLE))[1]
    same(gx.from_optax(ours, PARAMS, as_dicts(state)), gx.from_optax(ours, PARAMS, state), 0.0)


def test_parameters_in_other_nodes():
    """A checkpoint has dicts and lists where the parameters have tuples and classes."""
    params = (PARAMS["head"], [PARAMS["body"]])
    tx = optax.adam(0.1)
    _, state = tx.update(jax.tree.map(jnp.cos, params), tx.init(params))
    same(gx.from_optax(gx.adam(0.1), params, restored(state)), gx.from_optax(gx.adam(0.1), params, state), 0.0)


def test_half_precision_is_widened_and_rounded_where_it_is_asked_for():
    theirs, ours = optax.adam(0.1, mu_dtype=jnp.bfloat16), gx.adam(0.1)
    params = jax.tree.map(jnp.float32, PARAMS)
    grads = jax.tree.map(jnp.float32, grads_at(1))
    state: Any = theirs.update(grads, theirs.init(params))[1]
    taken = gx.from_optax(ours, params, state)
    assert gx.find(taken, "mu")["head"].dtype == jnp.float32
    same(jax.tree.map(jnp.float32, state[0].mu), gx.find(taken, "mu"), 0.0)
    back: Any = gx.to_optax(ours, taken, theirs.init(params))
    assert back[0].mu["head"].dtype == jnp.bfloat16
    same(back, state, 0.0)


def test_the_arrays_are_new_ones():
    state = optax.adam(0.1).init(PARAMS)
    taken = gx.from_optax(gx.adam(0.1), PARAMS, state)
    jax.jit(lambda x: jax.tree.map(lambda y: y + 1, x), donate_argnums=0)(taken)
    assert not any(x.is_deleted() for x in jax.tree.leaves(state))


# ---- numbers ----


def test_counts_are_those_of_windows_inside_of_accumulate():
    length = gx.piecewise_constant((2,), (1, 3))  # two windows of one, then three
    windows: Any = optax.MultiSteps(optax.sgd(0.1), lambda n: jnp.where(jnp.asarray(n) < 2, 1, 3))
    theirs = optax.chain(optax.scale_by_adam(), windows)
    ours = gx.chain(gx.scale_by_adam(), gx.accumulate(gx.sgd(0.1), length))
    for steps in range(1, 8):
        state = walk_along(theirs, theirs.init(PARAMS), range(steps))[1]
        own = walk_along(ours, ours.init(PARAMS), range(steps))[1][1]
        taken = gx.from_optax(ours, PARAMS, state)[1]
        assert float(taken.steps) == float(own.steps)
        assert taken.inner_state.count == own.inner_state.count == own.count


@pytest.mark.parametrize("broken", [0, 1, 2, 4])
def test_steps_that_were_skipped_are_counted_on(broken):
    theirs, ours = optax.apply_if_finite(optax.adam(0.1), 3), gx.skip_nonfinite(gx.adam(0.1), limit=3)
    states: dict[Any, Any] = {}
    for tx in (theirs, ours):
        _, states[tx] = tx.update(grads_at(0), tx.init(PARAMS), PARAMS)
        for _ in range(broken):
            _, states[tx] = tx.update(jax.tree.map(lambda g: g * jnp.nan, grads_at(1)), states[tx], PARAMS)
    taken = gx.from_optax(ours, PARAMS, states[theirs])
    for name in ("skipped", "total", "in_a_row", "exceeded"):
        assert getattr(taken, name) == getattr(states[ours], name), name
    if broken <= 3:  # behind its limit Optax lets them through
        same(gx.to_optax(ours, states[ours]), states[theirs])


def test_a_controlled_number_is_that_of_the_state():
    theirs, ours = optax.inject_hyperparams(optax.adam)(0.1), gx.adam(gx.controlled(0.5))
    state: Any = theirs.init(PARAMS)
    state.hyperparams["learning_rate"] = jnp.asarray(0.02)
    taken = gx.from_optax(ours, PARAMS, state)
    assert float(gx.find(taken, "learning_rate")) == 0.02
    back: Any = gx.to_optax(ours, taken, theirs.init(PARAMS))
    assert float(back.hyperparams["learning_rate"]) == 0.02
    message = (
        "from_optax: learning_rate is 0.02 in the state, and learning_rate is 0.1 in scale_by_learning_rate; take over "
        "with the number of the state, and change it behind that"
    )
    with refused(ValueError, message):
        gx.from_optax(gx.adam(0.1), PARAMS, state)


def test_what_only_gradtx_has_starts_as_in_init():
    theirs = optax.adam(FALLING)
    state = walk_along(theirs, theirs.init(PARAMS), range(MIDDLE))[1]
    ours = gx.chain(gx.adam(FALLING), gx.average_parameters())
    taken = gx.from_optax(ours, PARAMS, (state,))
    assert taken[1].count == 0
    same(gx.evaluation_parameters(taken, PARAMS), PARAMS, 0.0)
    assert jax.tree.structure(gx.to_optax(ours, taken)) == jax.tree.structure((state,))


def test_a_rate_that_is_a_schedule_now_goes_on_at_the_count_of_the_moments():
    theirs = optax.adam(0.1)
    state = walk_along(theirs, theirs.init(PARAMS), range(MIDDLE))[1]
    taken = gx.from_optax(gx.adam(FALLING), PARAMS, state)
    assert taken[1].count == MIDDLE
    assert float(taken[1].learning_rate) == pytest.approx(float(FALLING(MIDDLE - 1)))


def test_each_array_lies_as_its_parameter():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split, whole = (jax.NamedSharding(mesh, jax.P(*axes)) for axes in (("data",), ()))
    params = jax.device_put({"w": jnp.ones((8, 2)), "b": jnp.ones(3)}, {"w": split, "b": whole})
    tx = optax.adam(0.1)
    state = tx.init(jax.tree.map(np.asarray, params))
    for form in (state, jax.tree.map(np.asarray, state)):
        moments = gx.find(gx.from_optax(gx.adam(0.1), params, form), "nu")
        for name, x in moments.items():
            assert x.sharding.is_equivalent_to(params[name].sharding, x.ndim)


def test_an_ensemble_is_taken_over_under_vmap():
    params = jax.tree.map(lambda w: jnp.stack([w, 2.0 * w]), PARAMS)
    state = jax.vmap(optax.adam(0.1).init)(params)
    taken = jax.vmap(lambda w, s: gx.from_optax(gx.adam(0.1), w, s))(params, state)
    same(taken, jax.vmap(gx.adam(0.1).init)(params), 0.0)
