"""Muon and NorMuon: their formulas, the peers' numbers, and what becomes of a model's other arrays."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from gradtx.matrices import batch
from tests.printed import GRADS_M, M, after, golden
from tests.reference import matrices as reference

JORDAN = gx.jordan_coefficients()
RANDOM = np.random.default_rng(3)
STEPS = 20


def shape_factor(u, o):
    return max(1.0, o.shape[1] / o.shape[0]) ** 0.5


def outputs(tx, grads):
    state, update, out = tx.init(jnp.asarray(grads[0])), jax.jit(tx.update), []
    for g in grads:
        u, state = update(jnp.asarray(g), state, jnp.asarray(g))
        out.append(np.asarray(u))
    return out


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
def test_muon_is_its_formula(shape, nesterov):
    grads = RANDOM.normal(size=(STEPS, *shape))
    ours = outputs(gx.scale_by_muon(0.9, nesterov=nesterov), grads)
    expected = reference.muon(grads, JORDAN, shape_factor, 0.9, nesterov)
    for u, v in zip(ours, expected, strict=True):
        np.testing.assert_allclose(u, v, rtol=0, atol=1e-10)


def test_rows_are_their_formula():
    grads = RANDOM.normal(size=(STEPS, 4, 3))
    for u, v in zip(outputs(gx.scale_by_rows(0.9), grads), reference.rows(grads, 0.9), strict=True):
        np.testing.assert_allclose(u, v, rtol=1e-12)


@pytest.mark.parametrize(
    ("direction", "expected", "digits"),
    [
        (gx.scale_by_muon(), 5.5885525317, 10),  # Jordan
        (gx.scale_by_muon(eps=0.0), 5.5885468349, 7),  # torch in float64, which clamps the norm at its epsilon
        (gx.scale_by_muon(nesterov=False, eps=0.0), 6.0399184157, 6),
        (gx.scale_by_muon(scale=gx.rms_factor(), eps=0.0), 7.0012506600, 8),
        (gx.chain(gx.scale_by_muon(), gx.scale_by_rows()), 5.6010550047, 10),  # NorMuon
    ],
)
def test_golden_of_peers_whose_kernels_are_outputs_by_inputs(direction, expected, digits):
    assert golden(direction, transposed=True) == pytest.approx(expected, rel=0, abs=0.6 * 10.0**-digits)


def test_golden_of_optax():
    """It corrects the bias of the momentum, so that epsilon is smaller beside it."""
    found = golden(gx.chain(gx.ema(0.95), gx.bias_correction(0.95), gx.orthogonalize(eps=1e-8)))
    assert found == pytest.approx(5.6555861134, rel=0, abs=1e-9)


def test_golden_of_the_exact_factor():
    """By singular values, without a factor."""
    exact = gx.scale_by_muon(coefficients=gx.polar_express(12), scale=None, eps=0.0)
    assert golden(exact) == pytest.approx(5.5833450723, rel=0, abs=1e-9)


def test_without_nesterov_the_bias_of_the_momentum_does_not_matter():
    grads = RANDOM.normal(size=(STEPS, 3, 5))
    averaged = gx.chain(gx.ema(0.9), gx.bias_correction(0.9), gx.orthogonalize(eps=0.0))
    for u, v in zip(
        outputs(gx.scale_by_muon(0.9, nesterov=False, eps=0.0), grads), outputs(averaged, grads), strict=True
    ):
        np.testing.assert_allclose(u, v, rtol=0, atol=1e-11)


def test_the_factor_does_not_scale_the_decay():
    plain, decayed = gx.muon(0.1), gx.muon(0.1, weight_decay=0.5)
    start, grads = np.ones((2, 8)), RANDOM.normal(size=(1, 2, 8))
    moved = after(plain, start, grads) - after(decayed, start, grads)
    np.testing.assert_allclose(moved, 0.1 * 0.5 * start, rtol=1e-12)


def test_a_factor_that_changes_is_no_part_of_what_normuon_averages():
    """Of gradients that fall to a millionth, whose dual factor falls with them."""
    grads = np.stack([RANDOM.normal(size=(3, 5)) * 10.0 ** (-2 * t) for t in range(4)])

    def last(scale):
        return outputs(gx.normuon(1.0, coefficients=gx.polar_express(8), scale=scale, others=gx.sgd(0.1)), grads)[-1]

    ratios = last(gx.dual_factor()) / last(None)
    np.testing.assert_allclose(ratios, ratios[0, 0], rtol=1e-9)


def test_each_output_moves_equally_far_at_the_first_step_of_normuon():
    g = RANDOM.normal(size=(5, 7)) * np.geomspace(1, 100, 7)
    u, o = (outputs(tx, [g])[0] for tx in (gx.chain(gx.orthogonalize(), gx.scale_by_rows()), gx.orthogonalize()))
    norms = np.linalg.norm(u, axis=0)
    np.testing.assert_allclose(norms, norms[0], rtol=1e-7)  # but for epsilon
    assert np.ptp(np.linalg.norm(o, axis=0)) > 0.1
    np.testing.assert_allclose(np.linalg.norm(u), np.linalg.norm(o), rtol=1e-8)


# ---- many arrays ----

OPTIMIZERS = [
    gx.muon(0.1, weight_decay=0.1, where=gx.by_ndim(at_least=2)),
    gx.normuon(0.1, weight_decay=0.1, where=gx.by_ndim(at_least=2)),
]


@pytest.mark.parametrize("tx", OPTIMIZERS, ids=["muon", "normuon"])
def test_stacked_is_one_by_one(tx):
    start, grads = RANDOM.normal(size=(4, 3, 5)), RANDOM.normal(size=(3, 4, 3, 5))
    together = after(tx, start, grads)
    for i in range(4):
        np.testing.assert_allclose(after(tx, start[i], grads[:, i]), together[i], rtol=0, atol=1e-12)


@pytest.mark.parametrize("tx", OPTIMIZERS, ids=["muon", "normuon"])
def test_arrays_of_several_shapes_and_dtypes_are_as_alone(tx):
    shapes = {"a": (3, 5), "b": (2, 3, 5), "c": (5, 3), "d": (3, 5), "empty": (0, 3), "few": (1, 5)}
    dtypes = {"d": jnp.float32}
    params = {k: jnp.asarray(RANDOM.normal(size=shape), dtypes.get(k, jnp.float64)) for k, shape in shapes.items()}
    grads = {k: jnp.asarray(RANDOM.normal(size=p.shape), p.dtype) for k, p in params.items()}
    u, state = tx.update(grads, tx.init(params), params)
    for k in shapes:
        alone, _ = tx.update(grads[k], tx.init(params[k]), params[k])
        assert u[k].dtype == params[k].dtype
        np.testing.assert_allclose(u[k], alone, rtol=0, atol=1e-12 if params[k].dtype == jnp.float64 else 1e-5)
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, tx.init(params))


def dots(tx, layers):
    params = {f"layer {i}": {"up": jnp.ones((4, 16)), "down": jnp.ones((16, 4))} for i in range(layers)}
    text = jax.jit(tx.update).lower(params, jax.eval_shape(tx.init, params), params).as_text()
    return sum("dot_general" in line for line in text.splitlines())


def test_the_program_has_one_iteration_for_all_layers():
    tx = gx.muon(0.02)
    assert dots(tx, 1) == dots(tx, 12) == 2 * 3


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="elsewhere XLA sees where the parts of a batch begin")
def test_the_parts_of_a_batch_are_taken_by_one_kernel():
    params = {str(i): jnp.ones((4, 6), jnp.float32) for i in range(5)}
    tx = gx.orthogonalize()
    text = jax.jit(tx.update).lower(params, tx.init(params)).compile().as_text()
    parts = re.findall(r"= f32\[1,4,6\]\S* (slice|dynamic-slice)\(", str(text))
    assert parts == ["dynamic-slice"] * 5  # a slice at a constant would be compiled by itself


def test_many_large_matrices_are_taken_some_at_once(monkeypatch):
    """With the numbers of one batch; what is left over is a part of its own."""
    grads = {str(i): jnp.asarray(RANDOM.normal(size=(3, 5))) for i in range(7)}
    tx = gx.muon(0.1)
    whole, _ = tx.update(grads, tx.init(grads), grads)
    for most in (1, 3, 4, 6, 7):
        monkeypatch.setattr(batch, "AT_ONCE", most * 15)
        some, _ = jax.jit(lambda g: tx.update(g, tx.init(g), g))(grads)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=1e-13), some, whole)


def test_products_in_another_dtype_are_an_argument():
    tx, w = gx.muon(0.1, dtype=jnp.bfloat16), jnp.ones((2, 3))
    assert "bf16" in jax.jit(tx.update).lower(w, tx.init(w), w).as_text()


def test_half_precision_is_orthogonalized_in_float32(float32):
    """The momentum is not rounded to bfloat16 on its way."""
    g = jnp.asarray(RANDOM.normal(size=(8, 16)), jnp.bfloat16)
    tx = gx.scale_by_muon()
    half, _ = tx.update(g, tx.init(g))
    full, _ = tx.update(g.astype(jnp.float32), tx.init(g.astype(jnp.float32)))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_array_equal(half, full.astype(jnp.bfloat16))


# ---- a model ----

MODEL = {
    "embed": jnp.ones((10, 4)),
    "hidden": {"kernel": jnp.ones((4, 6)), "bias": jnp.ones(6)},
    "conv": jnp.ones((3, 3, 2, 4)),
    "head": jnp.ones((4, 10)),
}


def words(tx):
    return {row.split()[0]: row for row in str(gx.explain(tx, MODEL)).splitlines()[4:]}


def test_who_gets_what_is_seen():
    tx = gx.muon(0.02, where=gx.by_ndim(at_least=2) & ~gx.by_path("embed|head"), others=gx.adamw(1e-3))
    assert "where=(by_ndim(at_least=2) & ~by_path(pattern='embed|head'))" in repr(tx)
    found = words(tx)
    assert {name for name, row in found.items() if "scale_by_muon" in row} == {"hidden/kernel", "conv"}
    assert {name for name, row in found.items() if "adamw(" in row} == {"embed", "hidden/bias", "head"}


def test_the_default_takes_two_dimensions_and_says_so():
    tx = gx.muon(0.02)
    assert "where=(by_ndim(at_least=2) & ~by_ndim(at_least=3))" in repr(tx)
    assert {name for name, row in words(tx).items() if "scale_by_muon" in row} == {"embed", "hidden/kernel", "head"}
    assert eval(repr(tx), {**vars(gx)}) == tx


def test_rates_of_their_own():
    tx = gx.muon(0.02, others=gx.sgd(0.5))
    u, _ = tx.update(MODEL, tx.init(MODEL), MODEL)
    np.testing.assert_allclose(u["hidden"]["bias"], -0.5)
    assert gx.hyperparameters(tx)["others.learning_rate"] == 0.5
    assert tx.replace(others=gx.adam(1e-3)).others == gx.adam(1e-3)


def test_views_by_selector():
    """A convolution as one matrix, an attention kernel as one matrix per head."""
    params = {
        "conv": jnp.asarray(RANDOM.normal(size=(3, 3, 2, 4))),
        "heads": jnp.asarray(RANDOM.normal(size=(6, 2, 3))),
    }
    conv, heads = gx.matrices(reduce=(0, 1, 2), output=3), gx.matrices(reduce=0, output=2, batch=1)
    tx = gx.muon(0.1, where=gx.by_ndim(at_least=2), view=((gx.by_path("conv"), conv), (gx.by_path("heads"), heads)))
    u, _ = tx.update(params, tx.init(params), params)
    plain = gx.muon(0.1)
    for name, view in (("conv", conv), ("heads", heads)):
        shown, moved = [view.show(x).reshape(-1, *view.show(x).shape[-2:]) for x in (params[name], u[name])]
        for matrix, turned in zip(shown, moved, strict=True):
            expected, _ = plain.update(matrix, plain.init(matrix), matrix)
            np.testing.assert_allclose(turned, expected, rtol=0, atol=1e-12)


def test_a_model_without_matrices():
    tx = gx.muon(0.02, others=gx.sgd(0.5))
    assert tx.update(jnp.ones(3), tx.init(jnp.ones(3)), jnp.ones(3))[0].tolist() == [-0.5] * 3


def test_with_optax():
    """Their parts inside of ours and ours inside of theirs."""
    g = jnp.asarray(GRADS_M[0])
    inside = optax.chain(gx.scale_by_muon(), optax.scale(-0.1))
    around = gx.chain(gx.over(gx.matrices(), optax.identity()), gx.scale_by_muon(), gx.scale_by_learning_rate(0.1))
    for tx in (inside, around):
        u: Any = tx.update(g, tx.init(M), M)[0]
        np.testing.assert_allclose(u, after(gx.muon(0.1), M, [g]) - M, rtol=1e-12)
