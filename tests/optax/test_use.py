"""What programs do with Optax's objects beside calling them: states read and written, masks, frozen arrays."""

import functools
import inspect
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax as real
import pytest

import gradtx as gx
import gradtx.optax as optax
from gradtx.values.recipe import Recipe
from tests.optax.runs import PARAMS, grads, loss, matrices

G = grads(0)
MODULES: list[Any] = [optax, real]


def assert_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-9), a, b)


# ---- states ----


def test_fields_are_read_where_optax_has_them():
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    _, state = tx.update(G, tx.init(PARAMS), PARAMS)
    assert isinstance(state[0], optax.EmptyState)
    assert isinstance(state[1][0], optax.ScaleByAdamState)
    assert isinstance(state[1][0], real.ScaleByAdamState)
    assert jax.tree.structure(state[1][0].mu) == jax.tree.structure(PARAMS)
    assert int(optax.tree_utils.tree_get(state, "count")) == 1  # of several it would be an error
    assert int(optax.tree.get(state, "nu")["w"].size) == 4


def test_a_state_of_optax_goes_on_in_gradtx():
    tx, theirs = (m.adamw(0.1, mask=matrices) for m in MODULES)
    _updates, state = theirs.update(G, theirs.init(PARAMS), PARAMS)
    assert_close(tx.update(G, state, PARAMS), theirs.update(G, state, PARAMS))


def test_map_params():
    for mask in (matrices, {"w": True, "b": False, "n": {"c": False}}):
        tx = optax.masked(optax.adam(0.1), mask)
        state = optax.tree.map_params(tx, lambda x: x + 1, tx.init(PARAMS))
        assert state.inner_state[0].mu == {"w": state.inner_state[0].mu["w"], "b": (), "n": {"c": ()}}
        assert (state.inner_state[0].mu["w"] == 1.0).all()
        assert int(state.inner_state[0].count) == 0


# ---- hyperparameters ----


@pytest.mark.parametrize("compiled", [False, True])
def test_injected_hyperparameters_are_read_and_written(compiled):
    after = []
    for module in MODULES:
        tx = module.inject_hyperparams(module.adamw)(learning_rate=0.1, weight_decay=0.2)
        update = jax.jit(tx.update) if compiled else tx.update
        state = tx.init(PARAMS)
        assert sorted(state.hyperparams) == ["b1", "b2", "eps", "eps_root", "learning_rate", "weight_decay"]
        state.hyperparams["learning_rate"] = 1e-4
        _, state = update(G, state, PARAMS)
        np.testing.assert_allclose(state.hyperparams["learning_rate"], 1e-4)
        state = state._replace(hyperparams=state.hyperparams | {"weight_decay": jnp.array(0.5)})
        _, state = update(G, state, PARAMS)
        state = module.tree_utils.tree_set(state, learning_rate=jnp.array(0.25))
        np.testing.assert_allclose(module.tree_utils.tree_get(state, "learning_rate"), 0.25)
        after.append(update(G, state, PARAMS))
    assert_close(*after)
    assert jax.tree.structure(after[0]) == jax.tree.structure(after[1])


def test_a_written_hyperparameter_compiles_nothing():
    tx = optax.inject_hyperparams(optax.sgd)(0.1)
    step: Any = jax.jit(tx.update)
    state = tx.init(PARAMS)
    for rate in (0.1, 0.2, 0.3):
        state.hyperparams["learning_rate"] = jnp.asarray(rate)
        _, state = step(G, state)
    assert step._cache_size() == 1


def test_injected_schedules_stateful_ones_and_static_arguments():
    class Halving:
        """A schedule with a state of its own."""

        def init(self):
            return jnp.float32(1.0)

        def update(self, state, **extra):
            return state / 2

        def __call__(self, state, **extra):
            return state

    for own in (Halving(), lambda count: 1.0 / (1 + count)):
        after = []
        for module in MODULES:
            make = module.inject_hyperparams(module.lion, static_args=("mask", "b1"), hyperparam_dtype=jnp.float32)
            tx = make(own if not isinstance(own, Halving) else stateful(own), mask=matrices, weight_decay=0.1)
            state = tx.init(PARAMS)
            assert "b1" not in state.hyperparams
            assert "mask" not in state.hyperparams
            for _ in range(3):
                updates, state = tx.update(G, state, PARAMS)
            after.append((updates, state.hyperparams["learning_rate"], state.count))
        assert_close(*after)


def stateful(own):
    """One that Optax takes for such a schedule."""
    kind = type("Own", (real.schedules.StatefulSchedule,), dict(vars(type(own))))
    return kind()


def test_what_is_injected_is_a_value():
    tx = optax.inject_hyperparams(optax.adamw, static_args="mask")(1e-3, mask=matrices)
    assert repr(tx) == "inject_hyperparams(adamw, static_args=('mask',))(learning_rate=0.001, mask=<matrices>)"
    assert pickle.loads(pickle.dumps(tx)) == tx
    with pytest.raises(ValueError, match=r"inject_hyperparams: static_args \('rate',\) must be arguments of"):
        optax.inject_hyperparams(optax.adamw, static_args="rate")


# ---- large batches in parts ----


def test_multi_steps_in_a_loop():
    after = []
    for module in MODULES:
        ms = module.MultiSteps(module.adamw(0.1), every_k_schedule=3)
        state = ms.init(PARAMS)
        seen = []
        for i in range(7):
            updates, state = jax.jit(ms.update)(grads(i), state, PARAMS)
            seen.append((updates, bool(ms.has_updated(state)), int(state.mini_step), int(state.gradient_step)))
        after.append((seen, state.acc_grads, state.inner_opt_state))
    assert_close(*after)
    assert (
        optax.MultiSteps(optax.sgd(0.1), 2).gradient_transformation()
        == optax.MultiSteps(opt=optax.sgd(0.1), every_k_schedule=2).gradient_transformation()
    )
    assert isinstance(optax.MultiSteps(optax.sgd(0.1), 2), real.MultiSteps)


# ---- some of the arrays ----


def test_masks_of_whole_subtrees_and_labels_that_a_function_makes():
    def labels(params):
        return {name: "fast" if name == "w" else "slow" for name in params}

    for make in [
        lambda m: m.masked(m.adam(0.1), {"w": True, "b": False, "n": True}),
        lambda m: m.masked(m.adam(0.1), True),
        lambda m: m.partition({"fast": m.sgd(0.1), "slow": m.adam(0.1)}, labels),
        lambda m: m.partition({"fast": m.sgd(0.1), "unused": m.adam(0.1)}, "fast"),
    ]:
        own, theirs = (make(m) for m in MODULES)
        assert_close(own.update(G, own.init(PARAMS), PARAMS)[0], theirs.update(G, theirs.init(PARAMS), PARAMS)[0])


def test_a_mask_that_fits_no_tree_is_refused():
    misfit = "masked: the tree of booleans or labels does not fit the parameters: labels lack .* (Dict key mismatch)"
    with pytest.raises(ValueError, match=misfit.replace("(", r"\(").replace(")", r"\)")):
        optax.masked(optax.adam(0.1), {"w": True}).init(PARAMS)


def test_whole_numbers_that_are_not_meant_pass():
    params = PARAMS | {"steps": jnp.array([3])}
    g = G | {"steps": jnp.array([7])}
    mask = {"w": True, "b": True, "n": True, "steps": False}
    tx = optax.masked(optax.adam(0.1), mask)
    assert tx.update(g, tx.init(params), params)[0]["steps"] == 7
    labels = {"w": "train", "b": "train", "n": "train", "steps": "freeze"}
    tx = optax.multi_transform({"train": optax.adam(0.1), "freeze": optax.set_to_zero()}, labels)
    updates, _ = tx.update(g, tx.init(params), params)
    assert updates["steps"] == 0
    assert updates["steps"].dtype == params["steps"].dtype
    assert optax.apply_updates(params, updates)["steps"] == 3


def test_explain_shows_masks_and_labels():
    tx = optax.partition({"a": optax.sgd(0.1), "b": optax.adam(0.1)}, {"w": "a", "b": "b", "n": "b"})
    assert "'a': sgd(learning_rate=0.1)" in str(gx.explain(tx, PARAMS))
    assert "as it is" in str(gx.explain(optax.masked(optax.sgd(0.1), matrices), PARAMS))


# ---- guards, and the loop ----


def test_apply_if_finite_gives_up_at_its_limit():
    bad = jax.tree.map(lambda g: g * jnp.nan, G)
    after = []
    for module in MODULES:
        tx = module.apply_if_finite(module.adam(0.1), 2)
        state, rows = tx.init(PARAMS), []
        for g in (G, bad, bad, bad, G):
            updates, state = jax.jit(tx.update)(g, state, PARAMS)
            rows.append((updates, state.notfinite_count, state.last_finite, state.total_notfinite))
        after.append(rows)
    assert_close(*after)


def test_apply_updates_takes_what_optaxs_takes():
    assert optax.apply_updates({"w": 1.0, "n": None}, {"w": 0.5, "n": None}) == {"w": 1.5, "n": None}
    assert optax.apply_updates(jnp.array([3]), jnp.array([1.0])) == 4
    assert optax.apply_updates(jnp.ones(2, jnp.bfloat16), jnp.ones(2)).dtype == jnp.bfloat16
    np.testing.assert_allclose(optax.global_norm({"a": jnp.array([3.0]), "b": jnp.array([4.0])}), 5.0)


def test_a_train_step_that_was_written_for_optax():
    def train(optax: Any):
        rate = optax.warmup_cosine_decay_schedule(0.0, 0.1, 3, 20, end_value=0.01)
        tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=0.1, mask=matrices))

        @functools.partial(jax.jit, donate_argnums=(0, 1))
        def step(params, state):
            g = jax.grad(lambda p: sum(jnp.sum(optax.huber_loss(x, jnp.ones_like(x))) for x in jax.tree.leaves(p)))(
                params
            )
            updates, state = tx.update(g, state, params)
            return optax.apply_updates(params, updates), state

        params = jax.tree.map(jnp.copy, PARAMS)
        state = tx.init(params)
        for _ in range(20):
            params, state = step(params, state)
        return params, state

    assert_close(*map(train, MODULES))


# ---- beside gradtx's own functions ----


def test_hyperparameters_reads_schedules_at_the_count_that_optax_keeps():
    rate, decay = optax.linear_schedule(0.3, 0.0, 3), optax.linear_schedule(0.0, 0.3, 3)
    for tx in (optax.sgd(rate), optax.chain(optax.clip(1.0), optax.adamw(rate, weight_decay=decay))):
        state = tx.init(PARAMS)
        for expected in (0.3, 0.2):
            now = {path.rpartition(".")[2]: x for path, x in gx.hyperparameters(tx, state).items()}
            np.testing.assert_allclose(now["learning_rate"], expected, rtol=1e-6)
            np.testing.assert_allclose(now.get("weight_decay", 0.3 - expected), 0.3 - expected, rtol=1e-6)
            _, state = tx.update(G, state, PARAMS)
    tx = optax.scale_by_schedule(rate)
    np.testing.assert_allclose(gx.hyperparameters(tx, tx.init(PARAMS))["step_size_fn"], 0.3, rtol=1e-6)


def test_windows_of_multi_steps():
    ms = optax.chain(optax.clip(1.0), optax.MultiSteps(optax.sgd(1.0), 2).gradient_transformation())
    state, seen = ms.init(PARAMS), []
    for _ in range(3):
        _, state = ms.update(G, state, PARAMS)
        seen.append(bool(gx.has_updated(state)))
    assert seen == [False, True, False]
    with pytest.raises(ValueError, match=r"flush: there is no accumulate in chain\(.*gradtx\.accumulate\(tx, steps\)"):
        gx.flush(ms, state, PARAMS)


def test_a_line_search_on_the_last_micro_batch():
    for inner in ("own", "theirs"):
        after = []
        for module in MODULES:
            ms = module.MultiSteps((module if inner == "own" else real).lbfgs(), 2)
            params, state = PARAMS, ms.init(PARAMS)
            for _ in range(4):
                value, g = jax.value_and_grad(loss)(params)
                updates, state = ms.update(g, state, params, value=value, grad=g, value_fn=loss)
                params = optax.apply_updates(params, updates)
            after.append(params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), *after)


# ---- what `help` shows ----


@pytest.mark.parametrize("name", ["adamw", "chain", "cosine_decay_schedule", "partition", "apply_updates"])
def test_a_name_is_documented_as_in_optax(name):
    ours, theirs = getattr(optax, name), getattr(real, name)
    assert ours is not theirs
    text = ours.__doc__ or ""
    assert len(text) > 40
    if isinstance(ours, Recipe):  # whose docstring is Optax's, below a line that says whose it is
        assert (inspect.getdoc(theirs) or "-").splitlines()[0] in text
        assert ">>>" not in text  # Optax's examples show Optax's numbers
    assert " at 0x" not in str(inspect.signature(ours))
