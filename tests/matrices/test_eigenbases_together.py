"""Rules in the eigenbasis: many matrices, beside other rules, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.matrices.runs import close, gradients, run

pytestmark = pytest.mark.slow  # formulas do not turn on versions

# ---- many matrices ----


def test_several_arrays_and_a_stack_are_one_by_one():
    each = [gradients(9, 3, 4, seed=i) for i in range(4)]
    tx = gx.scale_by_soap(every=2)
    alone = [run(tx, grads)[0] for grads in each]
    wide = [{"a": g[0], "b": g[1], "stack": np.stack(g[2:])} for g in zip(*each, strict=True)]
    out, _ = run(tx, wide)
    close([u["a"] for u in out], alone[0])
    close([u["b"] for u in out], alone[1])
    close([u["stack"] for u in out], [np.stack(x) for x in zip(*alone[2:], strict=True)])


def test_a_view():
    grads = gradients(6, 4, 3, 2)  # height and width of a kernel in front: 12 by 2 would leave too much free
    out, _ = run(gx.scale_by_soap(every=2, view=gx.matrices(reduce=0, output=1, batch=2)), grads)
    moved, _ = run(gx.scale_by_soap(every=2), [np.moveaxis(g, 2, 0) for g in grads])
    close(out, [np.moveaxis(u, 0, 2) for u in moved])


def test_a_complex_matrix_is_two():
    pairs, tx = gradients(7, 2, 3, 3), gx.scale_by_soap(every=2)
    out, state = run(tx, [g[0] + 1j * g[1] for g in pairs])
    parts, _ = run(tx, pairs)
    close(out, [u[0] + 1j * u[1] for u in parts])
    assert state.left.shape == (2, 3, 3)


def test_bfloat16_parameters_are_computed_in_float32():
    grads = [jnp.asarray(g, jnp.bfloat16) for g in gradients(6, 4, 4)]
    out, state = run(gx.scale_by_soap(every=2), grads)
    wide, _ = run(gx.scale_by_soap(every=2), [g.astype(jnp.float32) for g in grads])
    assert state.left.dtype == state.inner_state.mu.dtype == jnp.float32
    assert all(u.dtype == jnp.bfloat16 and (u == w.astype(jnp.bfloat16)).all() for u, w in zip(out, wide, strict=True))


def primitives(program):
    for step in program.eqns:
        yield step.primitive.name
        for inside in jax.tree.leaves(
            list(step.params.values()), is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")
        ):
            if hasattr(getattr(inside, "jaxpr", inside), "eqns"):
                yield from primitives(getattr(inside, "jaxpr", inside))


def test_factors_of_one_size_are_one_decomposition():
    params = {"a": np.zeros((3, 4)), "b": np.zeros((3, 4)), "c": np.zeros((4, 3)), "d": np.zeros((2, 4, 4))}
    tx = gx.scale_by_soap()
    names = list(primitives(jax.make_jaxpr(tx.update)(params, tx.init(params)).jaxpr))
    assert (names.count("eigh"), names.count("qr")) == (4, 4)  # of three, of four, on CPUs and elsewhere


@pytest.mark.parametrize("factor", [0.0, 1.0])
def test_odd_shapes_and_zeros_stay_finite(factor):
    shapes = [(1, 4), (4, 1), (1, 1), (0, 3), (2, 3, 0), (6, 2)]
    grads = [[factor * np.random.default_rng(t).normal(size=shape) for shape in shapes] for t in range(4)]
    out, state = run(gx.scale_by_soap(every=1), grads)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((out, state)))
    assert all([x.shape for x in u] == shapes for u in out)
    assert all(x.any() == bool(factor and x.size) for x in out[1])


def test_the_gradient_through_several_updates_is_finite():
    tx, grads = gx.scale_by_soap(every=1), gradients(3, 3, 3)

    @jax.jit
    @jax.grad
    def slope(scale):
        state, out = tx.init(np.zeros((3, 3))), 0.0
        for g in grads:
            u, state = tx.update(scale * g, state)
            out += jnp.sum(u**2)
        return out

    assert jnp.isfinite(slope(1.0))
    assert jnp.isfinite(slope(0.0))


# ---- beside others ----


def test_a_guard_around_it_leaves_a_step_out():
    grads, tx = gradients(6, 3, 3), gx.skip_nonfinite(gx.scale_by_soap(every=1, max_dim=3))
    bad = [grads[0] * np.nan, *grads[:2], grads[0] * np.inf, *grads[2:]]
    out, state = run(tx, bad)
    right, expected = run(tx, grads)
    close([out[1], out[2], *out[4:]], right)
    assert not out[0].any()
    assert not out[3].any()
    close([state.inner_state.left], [expected.inner_state.left])


@pytest.mark.parametrize("max_dim", [3, 10])
def test_its_state_goes_through_a_checkpoint_and_a_summary(max_dim):
    tx = gx.chain(gx.scale_by_soap(max_dim=max_dim), gx.scale_by_learning_rate(0.1))
    params = {"w": np.zeros((3, 4)), "v": np.zeros((4, 4))}
    state = tx.init(params)
    _, state = tx.update({"w": np.ones((3, 4)), "v": np.eye(4)}, state, params)
    back = gx.from_flat(tx, params, gx.to_flat(tx, state, params))
    assert jax.tree.structure(back) == jax.tree.structure(state)
    assert all(map(np.array_equal, jax.tree.leaves(back), jax.tree.leaves(state)))
    assert "left_basis" in str(gx.to_flat(tx, state, params).keys())
    assert "scale_by_adam" in str(gx.summary(tx, params))


def test_schedules_of_the_period_are_rounded_up():
    tx = gx.in_eigenbasis(gx.scale_by_sign(), every=gx.constant(1.5))
    same, _ = run(gx.in_eigenbasis(gx.scale_by_sign(), every=2), gradients(6, 3, 3))
    close(run(tx, gradients(6, 3, 3))[0], same)


def test_linear_fields_are_found_wherever_they_stand():
    grads = [{"w": g, "v": [g.T]} for g in gradients(7, 3, 4)]
    plain = gx.chain(gx.ema(0.9), gx.scale_by_adam(0.8, 0.9))
    scheduled = gx.scale_by_adam(gx.constant(0.8), 0.9)
    wrapped = gx.chain(gx.partition((gx.by_path("w"), gx.ema(0.9)), default=gx.ema(0.9)), gx.skip_nonfinite(scheduled))
    (expected, _), (out, _) = [run(gx.in_eigenbasis(tx, every=2), grads) for tx in (plain, wrapped)]
    close([u["w"] for u in out], [u["w"] for u in expected])
    close([u["v"][0] for u in out], [u["w"].T for u in expected])


# ---- refused ----


def test_bad_arguments_are_refused():
    with pytest.raises(TypeError, match=r"max_dim must be a whole number, at least 1, got 2\.0"):
        gx.scale_by_soap(max_dim=2.0)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="max_dim must be a whole number, at least 1, got 0"):
        gx.in_eigenbasis(gx.scale_by_adam(), max_dim=0)
    with pytest.raises(TypeError, match=r"linear must be a tuple of names of fields, such as \('mu',\), got 'mu'"):
        gx.in_eigenbasis(gx.scale_by_adam(), linear="mu")  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"tx takes loss_fn.*put it outside of in_eigenbasis"):
        gx.in_eigenbasis(gx.scale_by_newton(0.1))
    with pytest.raises(ValueError, match="every must be a whole number in"):
        gx.soap(0.1, every=0)


def test_vectors_and_states_of_other_shapes_are_refused():
    tx = gx.in_eigenbasis(gx.scale_by_sign())
    with pytest.raises(
        ValueError, match=r"params\['b'\] has shape \(3,\), and a rule for matrices needs two dimensions"
    ):
        tx.init({"b": jnp.zeros(3)})
    state = tx.init({"w": jnp.zeros((3, 4))})
    problem = (
        r"updates\['w'\] does not fit the state, whose left has shape \(3, 3\) there, expected \(4, 4\); call init"
    )
    with pytest.raises(ValueError, match=problem):
        tx.update({"w": jnp.zeros((4, 4))}, state)
    short = gx.in_eigenbasis(gx.scale_by_sign(), max_dim=3)
    with pytest.raises(ValueError, match=r"whose right has shape \(4, 4\) there, expected None"):
        short.update({"w": jnp.zeros((3, 4))}, state)
    with pytest.raises(TypeError, match="expected InEigenbasisState"):
        tx.update({"w": jnp.zeros((3, 4))}, ())
