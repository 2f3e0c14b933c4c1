"""Adafactor, whose second moment of a matrix is a row and a column, and the blocks that it is made of."""

import functools
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import gradtx as gx
from tests.printed import GRADS_M, GRADS_V, M, V, after, checksum
from tests.reference import factored

STEPS = 40
SHAPES = {"matrix": (6, 4), "deep": (3, 5, 4), "vector": (5,), "number": (), "row": (1, 7), "column": (7, 1)}

formulas = pytest.mark.slow  # they do not turn on versions


def draw(seed, shapes=SHAPES):
    random = np.random.default_rng(seed)
    return {name: random.normal(size=(STEPS, *shape)) for name, shape in shapes.items()}


GRADS, WEIGHTS = draw(1), draw(2)
START = {name: x[0] for name, x in WEIGHTS.items()}


def run(tx, grads=GRADS, params=START, moves=True):
    """The parameters after each step, or the updates at parameters that stay."""

    @jax.jit
    def step(g, state, w):
        u, state = tx.update(g, state, w)
        return u, state, gx.apply_updates(w, u)

    state, out, w = tx.init(params), [], params
    for t in range(STEPS):
        u, state, after = step({name: x[t] for name, x in grads.items()}, state, w)
        w = after if moves else w
        out.append(after if moves else u)
    return {name: np.stack([x[name] for x in out]) for name in grads}


def assert_equal(ours, theirs):
    for name, x in ours.items():
        expected = np.stack(list(theirs(name)))
        assert np.ptp(expected) > 0.01, "nothing happens here"
        np.testing.assert_allclose(x, expected, rtol=1e-10, atol=1e-12, err_msg=name)


@formulas
@pytest.mark.parametrize(
    "options",
    [
        {},
        dict(min_dim=2),
        dict(min_dim=1),
        dict(min_dim=5),
        dict(min_dim=2, decay_rate=0.5, offset=7, eps=1e-3),
        dict(min_dim=1, dims=(-2, -1)),
        dict(min_dim=3, dims=(-1, -2)),
    ],
    ids=str,
)
def test_factored_rms(options):
    block = functools.partial(factored.factored_rms, **options)
    assert_equal(run(gx.scale_by_factored_rms(**options), moves=False), lambda name: block(GRADS[name]))


@formulas
@pytest.mark.parametrize(
    ("ours", "reference"),
    [
        (dict(), dict()),
        (dict(min_dim=2), dict(min_dim=2)),
        (dict(min_dim=2, max_rms=0.5), dict(min_dim=2, max_rms=0.5)),
        (dict(min_dim=2, relative=False, momentum=0.9), dict(min_dim=2, relative=False, momentum=0.9)),
        (dict(min_dim=2, momentum=0.9, weight_decay=0.1), dict(min_dim=2, momentum=0.9, decay=0.1)),
        (dict(min_dim=2, max_rms=np.inf), dict(min_dim=2, max_rms=np.inf)),
    ],
    ids=str,
)
def test_adafactor(ours, reference):
    path = functools.partial(factored.adafactor, rate=0.1, **reference)
    assert_equal(run(gx.adafactor(0.1, **ours)), lambda name: path(START[name], GRADS[name]))


@formulas
@pytest.mark.parametrize(
    ("tx", "size"),
    [
        (gx.scale_by_parameter_norm(2.0), lambda w: max(np.linalg.norm(w), 2.0)),
        (gx.scale_by_parameter_rms(0.9), lambda w: max(factored.rms(w), 0.9)),
    ],
    ids=["norm", "rms"],
)
def test_steps_relative_to_the_parameter(tx, size):
    assert_equal(run(tx, moves=False), lambda name: (g * size(START[name]) for g in GRADS[name]))


@formulas
def test_clip_by_rms():
    def clipped(name):
        return (g / max(1.0, factored.rms(g) / 0.9) for g in GRADS[name])

    assert_equal(run(gx.clip_by_rms(0.9), moves=False), clipped)


# ---- golden numbers, which Optax and torch printed ----


def torchs_rate(count):
    return jnp.minimum(1.0, (count + 1.0) ** -0.5)


GOLDEN = [
    (gx.adafactor(0.1), [5.2224508945, 4.4886904472]),
    (gx.adafactor(0.1, 2), [4.8448609281, 4.4886904472]),
    (gx.adafactor(0.1, 2, momentum=0.9, weight_decay=0.01), [6.9706482183, 5.5921810242]),
    (gx.adafactor(0.1, 2, relative=False, max_rms=np.inf), [5.0041827571, 5.2673356120]),
    (gx.adafactor(torchs_rate, 1, dims=(-2, -1)), [-4.4565848163, -2.3936700512]),
    (gx.chain(gx.clip_by_rms(0.1), gx.sgd(0.1)), [7.4809290321, 5.9247912321]),
    (gx.chain(gx.scale_by_parameter_norm(), gx.sgd(0.1)), [5.8896502333, 5.2289459898]),
    (gx.chain(gx.scale_by_parameter_rms(), gx.sgd(0.1)), [6.9751338733, 5.5512870926]),
]


@formulas
@pytest.mark.parametrize(("tx", "expected"), GOLDEN, ids=[str(i) for i in range(len(GOLDEN))])
def test_golden(tx, expected):
    # Optax's decay rate of an average is in float32, torch bounds where Optax adds 1e-30.
    found = [checksum(after(tx, M, GRADS_M)), checksum(after(tx, V, GRADS_V))]
    np.testing.assert_allclose(found, expected, rtol=1e-8 if tx.recipe is gx.adafactor else 1e-10)


# ---- what has to be so ----


def first(tx, g):
    return tx.update(g, tx.init(g), g)


@formulas
def test_squares_of_rank_one_lose_nothing():
    x, y = np.array([1.0, 2.0, 5.0]), np.array([0.1, 3.0, 0.5, 1.0])
    g = np.sqrt(np.outer(x, y)) * np.random.default_rng(0).choice([-1.0, 1.0], (3, 4))
    (whole, _), (factors, _) = (first(gx.scale_by_factored_rms(min_dim=n), g) for n in (128, 2))
    np.testing.assert_allclose(factors, whole, rtol=1e-12)
    np.testing.assert_allclose(factors, np.sign(g), rtol=1e-12)


def count_numbers(tx, shape):
    return sum(x.size for x in jax.tree.leaves(jax.eval_shape(tx.init, jnp.zeros(shape))))


def test_how_much_is_kept():
    one = 1  # the count
    tx = gx.scale_by_factored_rms()
    assert count_numbers(tx, (200, 300)) == one + 200 + 300 + 1
    assert count_numbers(tx, (127, 300)) == one + 127 * 300 + 2  # the second largest counts
    assert count_numbers(tx, (128, 128)) == one + 128 + 128 + 1
    assert count_numbers(tx, (500,)) == one + 500 + 2
    assert count_numbers(tx, (200, 4, 300)) == one + 4 * 200 + 4 * 300 + 1
    assert count_numbers(gx.scale_by_factored_rms(min_dim=1, dims=(-2, -1)), (200, 4, 300)) == one + 200 * 304 + 1


def test_of_equal_sizes_the_last_are_factored():
    state = gx.scale_by_factored_rms(min_dim=2).init(jnp.zeros((3, 3, 3)))
    theirs: Any = optax.scale_by_factored_rms(min_dim_size_to_factor=2).init(jnp.zeros((3, 3, 3)))
    assert state.v_row.shape == theirs.v_row.shape
    g = np.random.default_rng(0).normal(size=(3, 3, 3))
    tx = optax.scale_by_factored_rms(min_dim_size_to_factor=2)
    expected: Any = tx.update(g, theirs, g)[0]
    np.testing.assert_allclose(first(gx.scale_by_factored_rms(min_dim=2), g)[0], expected, rtol=1e-10)


@formulas
def test_each_of_a_stack_has_factors_of_its_own():
    stack = np.random.default_rng(0).normal(size=(9, 3, 2))  # more layers than rows: they would be an axis of a factor
    tx = gx.scale_by_factored_rms(min_dim=2, dims=(-2, -1))
    one_by_one = np.stack([first(tx, g)[0] for g in stack])
    np.testing.assert_allclose(first(tx, stack)[0], one_by_one, rtol=1e-12)
    assert np.abs(first(gx.scale_by_factored_rms(min_dim=2), stack)[0] - one_by_one).max() > 0.1


@formulas
def test_an_array_without_these_axes_is_not_factored():
    w = {"w": jnp.zeros((4, 3)), "deep": jnp.zeros((2, 4, 3))}
    state = gx.scale_by_factored_rms(min_dim=1, dims=(-3, -1)).init(w)
    assert state.v["w"].shape == (4, 3)
    assert state.v_row["deep"].shape == (2, 4)


@formulas
@pytest.mark.parametrize("options", [dict(min_dim=1), dict(min_dim=2), dict(min_dim=1, dims=(-2, -1))], ids=str)
def test_the_parts_of_a_complex_array_are_no_axis(options):
    """A vector has no axes to factor, and what is longest of a row and its parts are not the parts."""
    shapes = {"vector": (5,), "row": (1, 7), "column": (3, 1), "number": (1, 1), "deep": (3, 1, 4), "matrix": (6, 4)}
    parts = draw(3, shapes), draw(4, shapes)
    grads = {name: x + 1j * parts[1][name] for name, x in parts[0].items()}
    found = run(gx.scale_by_factored_rms(**options), grads, {name: x[0] for name, x in grads.items()}, moves=False)
    for name, x in found.items():
        expected = [np.stack(list(factored.factored_rms(part[name], **options))) for part in parts]
        np.testing.assert_allclose(x, expected[0] + 1j * expected[1], rtol=1e-10, err_msg=name)


@formulas
def test_up_to_the_offset_the_last_gradient_alone_counts():
    tx = gx.scale_by_factored_rms(offset=2)
    state = tx.init(jnp.zeros(2))
    for t, g in enumerate(np.array([[3.0, -1.0], [5.0, 0.5], [-2.0, 4.0], [-2.0, 1.0]])):
        u, state = tx.update(g, state)
        assert (t < 3) == np.allclose(u, np.sign(g))


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (0, 3), (3, 0), (0,), (), (1, 1)])
@pytest.mark.parametrize(
    "tx",
    [
        gx.adafactor(0.1, 1),
        gx.chain(gx.clip_by_rms(0.1), gx.scale_by_parameter_rms(), gx.scale_by_parameter_norm()),
    ],
    ids=str,
)
def test_any_shape_stays_finite(tx, shape):
    for fill in (0.0, 1.0):
        g = jnp.full(shape, fill, jnp.float32)
        updates, state = tx.update(g, tx.init(g), g)
        assert updates.shape == shape
        assert all(np.isfinite(x).all() for x in jax.tree.leaves((updates, state)) if x.dtype != bool)


def test_a_zero_gradient_in_a_row_stays_zero_in_float32():
    g = jnp.array([[0.0, 0.0], [1.0, 1e-20]], jnp.float32)
    u, _ = first(gx.scale_by_factored_rms(min_dim=2), g)
    assert np.isfinite(u).all()
    assert (u[0] == 0).all()


def test_means_lie_where_they_lay():
    """Nothing else holds them there: the compiler would lay the means of rows as the rows lie."""
    mesh = jax.make_mesh((len(jax.devices()),), ("data",), axis_types=(AxisType.Auto,))
    w = jax.device_put(jnp.ones((2 * len(jax.devices()), 3)), NamedSharding(mesh, PartitionSpec("data")))
    for tx in (gx.adafactor(0.1, 2), gx.adam_mini(0.1, share=-1)):
        state = tx.init(w)
        step: Any = jax.jit(lambda w, state, tx=tx: tx.update(w, state, w))
        _, moved = step(w, state)
        step(w, moved)
        assert step._cache_size() == 1
        same = jax.tree.map(lambda a, b: a.sharding.is_equivalent_to(b.sharding, a.ndim), state, moved)
        assert all(jax.tree.leaves(same))


# ---- what is refused ----

of_factored, of_anything = cast(Any, gx.scale_by_factored_rms), cast(Any, gx.adafactor)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: gx.scale_by_factored_rms(min_dim=0), ValueError, "min_dim must be a whole number, at least 1, got 0"),
        (lambda: of_factored(min_dim=2.0), TypeError, "min_dim must be a whole number, at least 1, got 2"),
        (lambda: of_anything(0.1, 2, dims=-1), TypeError, r"dims must be two axes, such as \(-2, -1\), got -1"),
        (lambda: gx.adafactor(0.1, 2, dims=(0, 1)), ValueError, "dims must be two axes counted from the last"),
        (lambda: gx.adafactor(0.1, 2, dims=(-1, -1)), ValueError, "dims must be two axes counted from the last"),
        (lambda: gx.scale_by_factored_rms(offset=-1), ValueError, "offset must be a whole number in"),
        (lambda: gx.clip_by_rms(0.0), ValueError, r"clip_by_rms: max_rms must be in \(0, inf\]"),
    ],
)
def test_bad_input(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


@pytest.mark.parametrize("tx", [gx.scale_by_factored_rms(), gx.scale_by_adam_mini()], ids=str)
def test_a_matrix_in_parts_is_refused(tx):
    mesh = jax.make_mesh((len(jax.devices()),), ("data",), axis_types=(AxisType.Auto,))
    w = jnp.ones((len(jax.devices()), 3))

    def update(w):
        across = gx.across(tx, "data")
        return across.update(w, across.init(w))[0]

    with pytest.raises(ValueError, match=r"an array is in parts along data; .* need it whole: use jit"):
        jax.shard_map(update, mesh=mesh, in_specs=PartitionSpec("data"), out_specs=PartitionSpec("data"))(w)


def test_configurations_hold_axes():
    tx = gx.adafactor(0.1, 1, dims=(-2, -1))
    assert gx.from_config(gx.to_config(tx)) == tx


def test_the_gradient_through_factors_at_zero_is_finite():
    tx = gx.adafactor(0.1, 2)
    assert np.isfinite(jax.grad(lambda g: jnp.sum(tx.update(g, tx.init(g), g)[0]))(jnp.zeros((4, 4)))).all()
