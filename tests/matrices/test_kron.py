"""PSGD Kron: its formula in NumPy, its author's numbers, and what must hold."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.matrices.runs import STEPS, gradients_of, outputs
from tests.printed import GRADS_M, GRADS_V, M, V, checksum, golden
from tests.reference.kron import kron

pytestmark = pytest.mark.slow  # formulas do not turn on versions

MODULE = sys.modules["gradtx.matrices.kron"]
COLUMN = gx.matrices(reduce=0, output=())  # a vector as a matrix


def noise_of(shape, key=0, steps=STEPS):
    """What scale_by_kron draws at each step, and the steps at which it balances."""
    drawn = [MODULE.draw_noise(key, jnp.asarray(float(t)), jnp.zeros(shape)) for t in range(steps)]
    return [np.asarray(v) for v, _ in drawn], {t for t, (_, turn) in enumerate(drawn, start=1) if turn}


SETTINGS = [
    {},
    dict(b1=0.0, rate=0.5, clip=0.3, max_dim=3),
    dict(max_dim=1, clip=np.inf),
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_kron_is_its_formula(settings, monkeypatch):
    monkeypatch.setattr(MODULE, "BALANCED", 0.3)  # or no step would balance
    shapes = [(3, 4), (2, 1), (1, 2)]
    grads = {str(shape): gradients_of(shape) for shape in shapes}
    own = {"precond_rate" if name == "rate" else name: x for name, x in settings.items()}
    tx = gx.scale_by_kron(**own)
    update, state = jax.jit(tx.update), tx.init({name: jnp.zeros_like(x[0]) for name, x in grads.items()})
    expected = {}
    for shape in shapes:
        noise, balanced = noise_of(shape)
        assert 3 < len(balanced) < 20
        own_grads = grads[str(shape)]
        if 1 in shape:  # one axis, but with a triangular Q
            expected[str(shape)] = of_one_axis(own_grads, noise, balanced, settings)
        else:
            expected[str(shape)] = list(kron(own_grads, noise, balanced, **settings))
    for t in range(STEPS):
        u, state = update({name: x[t] for name, x in grads.items()}, state)
        for name in grads:
            np.testing.assert_allclose(u[name], expected[name][t], rtol=1e-9, atol=1e-9, err_msg=name)


def of_one_axis(grads, noise, balanced, settings):
    turned = [g.reshape(-1) for g in grads], [v.reshape(-1) for v in noise]
    made = kron(*turned, balanced, **settings, least=1)
    return [u.reshape(grads[0].shape) for u in made]


# ---- the author's numbers ----


def noise_of_the_author():
    """What psgd_jax draws for the two arrays in its first steps, with its own keys. It does not balance there."""
    matrices, vectors = [], []
    for t in range(3):
        update = jax.random.split(jax.random.fold_in(jax.random.PRNGKey(5318008), t))[1]
        rest, turn = jax.random.split(update)
        assert jax.random.uniform(turn) > 0.01
        of_m, of_v = jax.random.split(jax.random.split(rest)[1])
        matrices.append(jax.random.normal(of_m, (2, 3)))
        vectors.append(jax.random.normal(of_v, (3,)))
    return jnp.stack(matrices), jnp.stack(vectors)


def test_the_formula_in_numpy_is_that_of_psgd_jax():
    noise_m, noise_v = map(np.asarray, noise_of_the_author())
    assert checksum(M - 0.1 * sum(kron(GRADS_M, noise_m))) == pytest.approx(6.9662575686, abs=1e-10)
    assert checksum(V - 0.1 * sum(kron(GRADS_V, noise_v))) == pytest.approx(5.8204901757, abs=1e-10)


def test_kron_is_that_of_psgd_jax_with_its_noise(monkeypatch):
    noise_m, noise_v = noise_of_the_author()
    monkeypatch.setattr(MODULE, "draw_noise", lambda key, t, like: (noise_m[t.astype(int)], jnp.array(False)))
    assert golden(gx.scale_by_kron()) == pytest.approx(6.9662575686, abs=1e-10)
    monkeypatch.setattr(MODULE, "draw_noise", lambda key, t, like: (noise_v[t.astype(int)][:, None], jnp.array(False)))
    column = gx.over(COLUMN, gx.scale_by_kron(max_dim=1))
    assert golden(column, V, GRADS_V) == pytest.approx(5.8204901757, abs=1e-10)


# ---- properties ----


def whitened(tx, mix, steps, average):
    """The covariance of what comes out, once the factors are fitted to gradients of one distribution."""
    shape = mix[0].shape[0], mix[1].shape[0]

    def step(state, key):
        g = mix[0] @ jax.random.normal(key, shape) @ mix[1]
        u, state = tx.update(g, state)
        return state, u.ravel()

    keys = jax.random.split(jax.random.key(1), steps)
    _, out = jax.jit(lambda: jax.lax.scan(step, tx.init(jnp.zeros(shape)), keys))()
    out = np.asarray(out[-average:])
    return out.T @ out / average


def test_what_comes_out_of_stationary_gradients_is_white():
    random = np.random.default_rng(0)
    mix = [np.diag(np.array(s)) @ np.linalg.qr(random.normal(size=(len(s),) * 2))[0] for s in ([3, 1, 0.3], [2, 0.5])]
    mix = [m.T @ m for m in mix]
    before = np.kron(mix[0] @ mix[0].T, mix[1] @ mix[1].T)
    assert np.linalg.cond(before) > 1e4
    tx = gx.scale_by_kron(b1=0.0, precond_rate=0.02, probability=1.0, clip=float("inf"))
    covariance = whitened(tx, mix, 12000, 8000)
    # A step of 0.02 leaves noise in the factors, 8000 gradients some in the covariance.
    np.testing.assert_allclose(covariance, np.eye(6), atol=0.12)


def test_with_diagonals_each_element_is_whitened():
    mix = np.diag([10.0, 1.0, 0.1]), np.eye(1)
    tx = gx.scale_by_kron(b1=0.0, precond_rate=0.02, probability=1.0, clip=float("inf"), max_dim=1)
    covariance = whitened(tx, mix, 6000, 4000)
    np.testing.assert_allclose(np.diag(covariance), np.ones(3), atol=0.12)


def test_no_root_mean_square_is_above_the_clip():
    grads = [1e6 * g for g in gradients_of((2, 3, 4), steps=10)]
    for clip in (1.1, 0.2):
        sizes = np.sqrt(np.mean(np.square(outputs(gx.scale_by_kron(clip=clip), grads)), axis=(-2, -1)))
        assert np.all(sizes <= clip * (1 + 1e-12))
        assert np.all(sizes > clip * 0.99)
    assert np.max(np.abs(outputs(gx.scale_by_kron(clip=float("inf")), grads))) > 1e4


def test_factors_are_triangular_and_diagonal_beyond_max_dim():
    tx = gx.scale_by_kron(max_dim=3)
    state = tx.init(jnp.zeros((3, 5)))
    for g in gradients_of((3, 5), steps=5):
        _, state = tx.update(g, state)
    own = state.inner_state
    assert own.right.shape == (5,)
    np.testing.assert_array_equal(own.left, np.triu(own.left))
    assert np.abs(np.triu(own.left, 1)).max() > 0.01


@pytest.mark.parametrize(
    ("probability", "fits"), [(1.0, [1, 2, 3, 4, 5]), (0.5, [1, 3, 5]), (1 / 3, [1, 4]), (0.3, [1, 5]), (0.0, [1])]
)
def test_after_a_fit_the_next_waits(probability, fits):
    tx = gx.scale_by_kron(probability=probability)
    state, update, seen = tx.init(jnp.zeros((2, 3))), jax.jit(tx.update), []
    for t, g in enumerate(gradients_of((2, 3), steps=5), start=1):
        before, (_, state) = np.asarray(state.left), update(g, state)
        seen += [t] if not np.array_equal(before, state.left) else []
    assert seen == fits


def test_fading_is_the_authors_schedule():
    t = np.arange(1, 6001)
    expected = np.clip(np.exp(-0.001 * (t - 500)), 0.03, 1.0)
    np.testing.assert_allclose(gx.fading()(jnp.arange(6000)), expected, rtol=1e-12)


def test_zeros_leave_the_factors_and_stay_finite():
    tx, p = gx.scale_by_kron(b1=0.0, probability=1.0), jnp.zeros((3, 4), jnp.float32)
    state = tx.init(p)
    _, state = tx.update(jnp.ones_like(p), state)
    u, after = jax.jit(lambda s: jax.lax.scan(lambda s, _: tx.update(p, s)[::-1], s, length=2000))(state)[::-1]
    np.testing.assert_array_equal(u, 0.0)
    np.testing.assert_array_equal(after.left, state.left)


def test_a_stack_is_one_by_one_and_arrays_of_one_shape_alone():
    grads = gradients_of((2, 3, 4), steps=10)
    tx = gx.scale_by_kron()
    alone = [outputs(tx, [g[i] for g in grads]) for i in (0, 1)]
    np.testing.assert_allclose(outputs(tx, grads), np.stack(alone, axis=1), rtol=1e-9, atol=1e-12)
    params = {"a": jnp.zeros((3, 4)), "b": jnp.zeros((3, 4))}
    state, update = tx.init(params), jax.jit(tx.update)
    for t, g in enumerate(grads):
        u, state = update({"a": g[0], "b": g[1]}, state)
        np.testing.assert_allclose(u["a"], alone[0][t], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(u["b"], alone[1][t], rtol=1e-9, atol=1e-12)


def test_the_noise_is_that_of_the_key_in_all_its_forms():
    grads = gradients_of((2, 3), steps=4)
    first, other = (outputs(gx.scale_by_kron(key=key), grads) for key in (0, 1))
    assert np.abs(first - other).max() > 1e-3
    for key in (jax.random.key(1), jax.random.PRNGKey(1)):
        np.testing.assert_array_equal(outputs(gx.scale_by_kron(key=key), grads), other)


def test_the_noise_is_the_same_in_both_precisions():
    wide, _ = MODULE.draw_noise(0, jnp.asarray(3.0), jnp.zeros((2, 3)))
    narrow, _ = MODULE.draw_noise(0, jnp.asarray(3.0, jnp.float32), jnp.zeros((2, 3), jnp.float32))
    np.testing.assert_array_equal(wide, narrow)


def test_odd_shapes():
    shapes = [(0, 3), (2, 3, 0), (1, 1), (1, 5)]
    params = {str(shape): jnp.zeros(shape, jnp.float32) for shape in shapes}
    tx = gx.scale_by_kron(max_dim=4)
    for g in (params, jax.tree.map(jnp.ones_like, params)):
        u, state = tx.update(g, tx.init(params))
        assert jax.tree.map(jnp.shape, u) == jax.tree.map(jnp.shape, params)
        assert all(jnp.isfinite(x).all() for x in jax.tree.leaves((u, state)))


def test_the_optimizer_shows_convolutions_as_matrices():
    tx = gx.kron(0.1, b1=0.0, where=gx.by_ndim(at_least=3), view=gx.matrices(reduce=(0, 1), output=2))
    params = jnp.zeros((2, 2, 3))
    g = gradients_of((2, 2, 3))[0]
    u = tx.update(g, tx.init(params), params)[0]
    expected = outputs(gx.scale_by_kron(b1=0.0), [g.reshape(4, 3)])[0]
    np.testing.assert_allclose(u, -0.1 * expected.reshape(2, 2, 3), rtol=1e-9, atol=1e-12)


# ---- what it costs ----


@pytest.mark.parametrize(("most", "factors"), [(8192, 64**2 + 256**2), (100, 64**2 + 256), (1, 64 + 256)])
def test_bytes_of_the_state(most, factors):
    tx = gx.scale_by_kron(max_dim=most)
    state = jax.eval_shape(tx.init, jax.ShapeDtypeStruct((64, 256), jnp.float32))
    arrays = [x for x in jax.tree.leaves(state) if x.ndim]
    assert sum(x.size * x.dtype.itemsize for x in arrays) == 4 * 64 * 256 + 4 * factors


# ---- bad input ----


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (dict(key=0.5), TypeError, r"key must be .*got 0.5"),
        (dict(max_dim=0), ValueError, "max_dim must be a whole number, at least 1, got 0"),
        (dict(probability=1.5), ValueError, r"probability must be in \[0, 1\], got 1.5"),
        (dict(clip=0.0), ValueError, r"clip must be in \(0, inf\], got 0"),
        (dict(precond_rate=-0.1), ValueError, r"precond_rate must be in \[0, inf\), got -0.1"),
    ],
    ids=str,
)
def test_bad_numbers_are_refused(settings, error, message):
    with pytest.raises(error, match=f"scale_by_kron: {message}"):
        gx.scale_by_kron(**settings)


def test_what_is_no_matrix_is_refused():
    with pytest.raises(ValueError, match=r"params\['b'\] has shape \(3,\).* needs two dimensions"):
        gx.scale_by_kron().init({"a": jnp.zeros((2, 3)), "b": jnp.zeros(3)})
