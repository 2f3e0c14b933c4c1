"""The laws of the design for updates, over the whole catalogue."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import keystr, tree_leaves_with_path

import gradtx as gx
from tests.catalogue import TRANSFORMATIONS
from tests.trees import numbers, run, signature, small, step, three, tree

members = pytest.mark.parametrize(
    "member", [pytest.param(m, marks=[pytest.mark.slow] * m.slow, id=repr(m.tx)) for m in TRANSFORMATIONS]
)


def assert_same(a, b):
    chex.assert_trees_all_equal_structs(a, b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


# ---- pure, with a state that keeps its form ----

REAL = [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64]
PAIRS = [(p, g) for p in REAL for g in REAL] + [(jnp.complex64, jnp.complex64), (jnp.complex64, jnp.complex128)]


def shaped(dtypes):
    """A matrix and a number of each dtype, a zero-size array and a None."""
    arrays = [{shape: jax.ShapeDtypeStruct(shape, dtype) for shape in ((2, 3), ())} for dtype in dtypes]
    return {"arrays": arrays, "frozen": None, "empty": jax.ShapeDtypeStruct((0, 2), dtypes[0])}


def dtypes_of(x):
    return jax.tree.map(lambda x: x.dtype, x)


@members
def test_state_keeps_its_form_and_updates_their_dtype(member):
    """Each pair of dtypes: together in one tree, or in a tree of its own where arrays act on each other."""
    for pairs in [PAIRS] if member.elementwise else [[pair] for pair in PAIRS]:
        named = str([tuple(jnp.dtype(d).name for d in pair) for pair in pairs])
        params, g = map(shaped, zip(*pairs, strict=True))
        state = jax.eval_shape(member.tx.init, params)
        updates, after = jax.eval_shape(member.update, g, state, params)
        assert signature(after) == signature(state), named
        held = [x.dtype for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.inexact)]
        assert member.copies_params or all(jnp.finfo(dtype).bits >= 32 for dtype in held), named
        assert dtypes_of(updates) == dtypes_of(shaped([jnp.promote_types(*pair) for pair in pairs])), named
        assert jax.tree.map(jnp.shape, updates) == jax.tree.map(jnp.shape, params)
        if not member.needs_params:
            alone, after = jax.eval_shape(member.update, g, state)
            assert dtypes_of(alone) == dtypes_of(g), named
            assert signature(after) == signature(state), named


@members
@pytest.mark.usefixtures("float32")
def test_without_x64_the_state_keeps_its_form(member):
    params = tree()
    state = member.tx.init(params)
    _, after = jax.eval_shape(member.update, tree(seed=1), state, params)
    assert signature(after) == signature(state)
    assert {x.dtype for x in jax.tree.leaves(state)} <= {jnp.dtype(name) for name in ("float32", "int32", "bool")}


@members
def test_same_arguments_same_result(member):
    params, g = small(), small(1)
    state = member.tx.init(params)
    before = jax.tree.map(np.array, (params, g, state))
    first, second = (step(member, member.tx, g, state, params) for _ in range(2))
    assert_same(first, second)
    assert_same((params, g, state), before)
    traced, again = (str(jax.make_jaxpr(lambda *args: member.update(*args))(g, state, params)) for _ in range(2))
    assert traced == again


@members
def test_eager_jitted_and_as_written_agree(member):
    params, g = small(dtype=jnp.float64), small(1, jnp.float64)
    state = member.tx.init(params)
    eager = member.update(g, state, params)
    closed_over = jax.jit(lambda g, s, p: member.update(g, s, p))(g, state, params)
    with jax.disable_jit():
        written = member.update(g, state, params)
    chex.assert_trees_all_close(eager, closed_over, rtol=1e-13)
    chex.assert_trees_all_close(eager, written, rtol=1e-13)


@members
def test_second_call_traces_nothing(member):
    traces = []

    @jax.jit
    def one(tx, g, state, params):
        traces.append(tx)
        return member.update(g, state, params, tx=tx)

    params = small()
    state = member.tx.init(params)
    for seed in (1, 2, 3):
        _, state = one(member.tx, small(seed), state, params)
    for path, value in numbers(member.tx).items():
        if value is not None:
            other = value + 1 if isinstance(value, int) else value * 0.9
            one(member.tx.replace(**{path: other}), small(), state, params)
    assert len(traces) == 1


@members
def test_scan_and_cond(member):
    params, gradients = small(), [small(seed) for seed in (1, 2, 3)]

    def body(carry, g):
        params, state = carry
        u, state = jax.lax.cond(
            True, lambda: member.update(g, state, params), lambda: (jax.tree.map(jnp.zeros_like, g), state)
        )
        return (gx.apply_updates(params, u), state), u

    stacked = jax.tree.map(lambda *x: jnp.stack(x), *gradients)
    _, scanned = jax.lax.scan(body, (params, member.tx.init(params)), stacked)
    looped, _ = run(member, params, gradients)
    chex.assert_trees_all_close(scanned, jax.tree.map(lambda *x: jnp.stack(x), *looped), rtol=1e-6, atol=1e-7)


@members
def test_vmap_over_the_tree_and_over_the_value(member):
    @jax.jit
    def one(tx, g, params):
        return member.update(g, tx.init(params), params, tx=tx)[0]

    trees = [small(seed) for seed in (1, 2, 3)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *trees)
    tx = jax.tree.map(np.float32, member.tx)
    together = jax.jit(jax.vmap(one, in_axes=(None, 0, 0)))(tx, stacked, stacked)
    rows = [one(tx, a, a) for a in trees]
    chex.assert_trees_all_close(together, jax.tree.map(lambda *x: jnp.stack(x), *rows), rtol=2e-5)

    many = jax.tree.map(lambda x: x * np.array([1.0, 0.9, 0.5], np.float32), member.tx)
    if jax.tree.leaves(many):
        swept = jax.jit(jax.vmap(one, in_axes=(0, None, None)))(many, small(), small(1))
        for i in range(3):
            single = one(jax.tree.map(lambda x, i=i: x[i], many), small(), small(1))
            chex.assert_trees_all_close(jax.tree.map(lambda x, i=i: x[i], swept), single, rtol=2e-5, atol=1e-7)


@members
def test_differentiates_through_update_and_value(member):
    def loss(tx, g):
        u, _ = member.update(g, tx.init(g), g, tx=tx)
        return sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(u))

    slope = jax.jit(jax.grad(loss, argnums=(0, 1), allow_int=True))
    by_tx, by_g = slope(member.tx, small(1))
    real = [x for x in jax.tree.leaves((by_tx, by_g)) if x.dtype != jax.dtypes.float0]  # a number of steps has none
    assert all(np.isfinite(x).all() for x in real)
    assert jax.tree.structure(by_tx) == jax.tree.structure(member.tx)


# ---- a fresh state can be donated together with the parameters ----


@members
def test_init_aliases_nothing(member):
    params = small()
    state = member.tx.init(params)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def train(params, state, g):
        u, state = member.update(g, state, params)
        return gx.apply_updates(params, u), state

    train(params, state, small(1))


# ---- None and integers ----


@members
def test_none_passes_through(member):
    params, g = tree(), tree(seed=1)
    g["a"]["b"] = None
    state = member.tx.init(params)
    u, after = step(member, member.tx, g, state, params)
    assert u["a"]["b"] is None
    assert u["frozen"] is None
    assert signature(after) == signature(state)
    moved = gx.apply_updates(params, u)
    assert moved["a"]["b"] is params["a"]["b"]


@members
def test_integer_leaf_is_refused_with_a_remedy(member):
    if member.tx == gx.chain() or member.selects:
        return
    params = {"w": jnp.ones(2), "step": jnp.zeros([], jnp.int32)}
    with pytest.raises(TypeError, match=r"params\['step'\] must be floating-point or complex, got int32; to freeze it"):
        member.tx.init(params)
    with pytest.raises(TypeError, match=r"updates\['step'\] must be floating-point or complex, got int32"):
        member.update(params, member.tx.init({"w": params["w"], "step": None}), None)


# ---- zeros and emptiness ----


@members
@pytest.mark.parametrize("params", [{}, None, [], jnp.zeros((0, 3)), tree()], ids=str)
def test_zeros_and_empty_trees_stay_finite(member, params):
    if params is None and member.needs_params:
        return
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = member.tx.init(params)
    update = functools.partial(step, member, member.tx) if jax.tree.leaves(params) else member.update
    for _ in range(3):
        u, state = update(zeros, state, zeros)
        assert jax.tree.structure(u) == jax.tree.structure(params)
        assert all(np.isfinite(x).all() for x in jax.tree.leaves((u, state)))


@members
def test_gradient_through_an_update_of_zero_is_finite(member):
    def loss(g):
        u, _ = member.update(g, member.tx.init(g), g)
        return sum(jnp.sum(x) for x in jax.tree.leaves(u))

    zeros = jnp.zeros((2, 3))
    assert np.isfinite(jax.jit(jax.grad(loss))(zeros)).all()
    if "loss_fn" not in member.extra(zeros, zeros):  # whose loops would compile one by one
        assert np.isfinite(jax.grad(loss)(zeros)).all()


# ---- complex arrays are pairs of reals ----


@members
def test_complex_is_a_pair_of_reals(member):
    if not member.pairs:
        return
    gradients = [x["a"] for x in three(jnp.complex128)]
    params = tree(jnp.complex128)["a"]
    as_pairs = functools.partial(jax.tree.map, lambda x: jnp.stack([x.real, x.imag]))
    got, state = run(member, params, gradients)
    expected, pairs = run(member, as_pairs(params), [as_pairs(g) for g in gradients])
    chex.assert_trees_all_close(as_pairs(got), expected, rtol=1e-12)
    held = [(keystr(path), x) for path, x in tree_leaves_with_path(state) if jnp.iscomplexobj(x)]
    complex_state = [x.conj() if ".grad" in path else x for path, x in held]  # JAX's gradient is the conjugate
    real_state = [x for x in jax.tree.leaves(pairs) if x.ndim > 1]
    for x, pair in zip(complex_state, real_state, strict=True):
        axis = pair.shape.index(2)  # in front, or behind the axis along which a state stacks what is past
        np.testing.assert_allclose(jnp.stack([x.real, x.imag], axis), pair, rtol=1e-12)
