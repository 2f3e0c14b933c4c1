"""Models with more in them than arrays of floats: what no gradient reaches has no state and stays as it is."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from gradtx.testing.law import same_form

MODEL = {
    "w": jnp.array([1.0, 2.0]),
    "step": jnp.array(3),
    "table": np.arange(4, dtype=np.int8),
    "key": jax.random.key(0),
    "activation": jax.nn.relu,
    "name": "encoder",
    "layers": 2,
    "frozen": None,
}
GRADS = {name: jnp.array([1.0, -1.0]) if name == "w" else None for name in MODEL}


@pytest.mark.parametrize(
    "tx",
    [
        gx.sgd(0.1, momentum=0.9),
        gx.adamw(0.1),
        gx.chain(gx.clip_by_global_norm(1.0), optax.scale_by_adam(), gx.sgd(0.1)),
        gx.accumulate(gx.adam(0.1), 2),
        gx.skip_nonfinite(gx.adam(0.1)),
        gx.chain(gx.adam(0.1), gx.average_parameters(0.9), gx.record("norm", gx.global_norm)),
        gx.lion(gx.cosine(0.1, 9)),
        gx.partition((gx.by_path("w"), gx.adam(0.1)), default=gx.sgd(0.1)),
    ],
    ids=repr,
)
def test_a_model_with_functions_integers_and_keys(tx):
    alone = {"w": MODEL["w"]}
    state, expected = tx.init(MODEL), tx.init(alone)
    params = MODEL
    for _ in range(3):
        updates, state = tx.update(GRADS, state, params)
        wanted, expected = tx.update({"w": GRADS["w"]}, expected, alone)
        np.testing.assert_allclose(updates["w"], wanted["w"], rtol=1e-6)
        assert [name for name, u in updates.items() if u is not None] == ["w"]
        params, alone = gx.apply_updates(params, updates), gx.apply_updates(alone, wanted)
    assert all(params[name] is MODEL[name] for name in MODEL if name != "w")


def test_a_whole_module_of_equinox():
    model = eqx.nn.MLP(2, 1, 4, 1, key=jax.random.key(0))  # its activations are functions among the leaves
    tx = gx.adamw(1e-2)

    @eqx.filter_jit
    def step(model, state, x):
        grads = eqx.filter_grad(lambda model: jnp.mean(jax.vmap(model)(x) ** 2))(model)
        updates, state = tx.update(grads, state, model)
        return gx.apply_updates(model, updates), state

    state, x = tx.init(model), jnp.ones((3, 2))
    before = jnp.mean(jax.vmap(model)(x) ** 2)
    for _ in range(20):
        model, state = step(model, state, x)
    assert jnp.mean(jax.vmap(model)(x) ** 2) < before


def lora():
    params = {"base": jnp.ones((2, 2), jnp.int8), "lora": jnp.ones((2, 2))}
    loss = lambda params: jnp.sum((params["base"].astype(jnp.float32) @ params["lora"]) ** 2)  # noqa: E731
    return params, jax.grad(loss, allow_int=True)(params)


WRAPPERS = {
    "accumulate": lambda tx: gx.accumulate(tx, 2),
    "skip_nonfinite": gx.skip_nonfinite,
    "skip_spikes": gx.skip_spikes,
    "switch": lambda tx: gx.switch(tx, gx.identity(), choice=0),
    "every": lambda tx: gx.chain(gx.every(gx.clip_by_norm(1.0), 2), tx),
    "average_parameters": lambda tx: gx.chain(tx, gx.average_parameters(0.9)),
    "early_stopping": lambda tx: gx.chain(tx, gx.early_stopping(3)),
    "clip_by_global_norm": lambda tx: gx.chain(gx.clip_by_global_norm(1.0), tx),
    "clip_behind": lambda tx: gx.chain(tx, gx.clip_by_global_norm(1.0)),
    "record": lambda tx: gx.chain(gx.record("before", gx.global_norm), tx, gx.record("norm", gx.global_norm)),
    "reduce_on_plateau": lambda tx: gx.chain(tx, gx.reduce_on_plateau()),
    "masked": lambda tx: gx.chain(gx.masked(gx.scale(0.5), gx.by_path("lora")), tx),
    "optax": lambda tx: optax.chain(tx, gx.scale(1.0)),
    "nothing": lambda tx: tx,
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())
@pytest.mark.parametrize("where", [gx.by_path("lora"), None, "inside"], ids=["around", "not named", "inside"])
def test_an_integer_base_under_wrappers(wrap, where):
    """Whatever the order: the wrapper around `only`, `only` around the wrapper, or no word about the integers."""
    params, grads = lora()
    inner, optimizer = gx.by_path("lora"), gx.adam(0.1)
    if where is None:
        tx = wrap(optimizer)
    elif where == "inside":
        if wrap(optimizer).__class__ is not gx.Transformation or "global" in repr(wrap(optimizer)):
            pytest.skip("only the norm of the whole tree is meant there")
        tx = gx.only(wrap(optimizer), inner)
    else:
        tx = wrap(gx.only(optimizer, inner))
    for step in (tx.update, jax.jit(tx.update)):
        state = tx.init(params)
        for _ in range(2):
            updates, after = step(grads, state, params, value=1.0)
            same_form(state, after, "state", "after init", "after an update")
            state = after
        assert updates["base"] is None
        assert np.abs(updates["lora"]).max() > 0.01
        assert gx.apply_updates(params, updates)["base"] is params["base"]


def test_lbfgs_beside_integers():
    params, grads = lora()
    loss = lambda params: jnp.sum((params["base"].astype(jnp.float32) @ params["lora"] - 1.0) ** 2)  # noqa: E731
    value, grads = jax.value_and_grad(loss, allow_int=True)(params)
    tx = gx.lbfgs()
    updates, _ = tx.update(grads, tx.init(params), params, value=value, grad=grads, value_fn=loss)
    assert updates["base"] is None
    assert loss(gx.apply_updates(params, updates)) < value


def test_integers_that_should_have_been_floats():
    """What `init` refused before: the first update still says it."""
    params = {"w": jnp.array([1, 2])}
    tx = gx.sgd(0.1)
    state = tx.init(params)
    for g in (jnp.ones(2), jnp.ones(2, int)):
        with pytest.raises(TypeError, match=r"sgd: (updates|params)\['w'\] must be floating-point or complex, got int"):
            tx.update({"w": g}, state, params)


def test_a_norm_beside_integers():
    tree = {"w": jnp.array([3.0, 4.0]), "n": np.zeros((), jax.dtypes.float0)}
    assert gx.global_norm(tree) == 5.0
