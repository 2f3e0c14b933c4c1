"""APOLLO against its formula, with projections that a test chooses; its limiter, and what it draws when."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from gradtx.matrices import apollo
from tests.matrices.low_rank import GRADS, SHAPES, assert_equal, number_of, outputs_of_all
from tests.reference import low_rank
from tests.refusals import refused

pytestmark = pytest.mark.slow  # formulas do not turn on versions


@pytest.mark.parametrize(
    ("options", "number"),
    [({}, 2.4023292177), (dict(scale=128.0, channel=False), -7.4834291272)],
    ids=["channel", "tensor"],
)
def test_golden_number(monkeypatch, options, number):
    monkeypatch.setattr(apollo, "draw_projection", lambda *_: jnp.array([[1.0], [-0.5]]))
    with jax.disable_jit():  # no program with this projection stays
        assert number_of(gx.apollo(0.1, 1, **options)) == pytest.approx(number, abs=5e-11)


@pytest.mark.parametrize(
    "options",
    [{}, dict(scale=9.0, channel=False, limit=1e9), dict(b1=0.8, b2=0.95, eps=1e-3, limit=1.2)],
    ids=["channel", "tensor", "numbers"],
)
def test_it_equals_its_formula(options):
    def formula(name):
        n = min(SHAPES[name])

        def draw(epoch):
            return np.asarray(apollo.draw_projection(3, jnp.int32(epoch), n, min(2, n), jnp.dtype(float)))

        return low_rank.apollo(GRADS[name], draw, 7, **options)

    assert_equal(outputs_of_all(gx.scale_by_apollo(2, every=7, key=3, **options)), formula)


def test_projections_are_normal_and_change_with_the_epoch_alone():
    first, again, later = (apollo.draw_projection(0, jnp.int32(i), 500, 100, jnp.dtype(float)) for i in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert abs(jnp.mean(first * later)) * 100 < 0.03
    assert jnp.var(first) * 100 == pytest.approx(1.0, abs=0.03)  # the mean of P·Pᵀ is the identity
    np.testing.assert_allclose(jnp.diag(first @ first.T).mean(), 1.0, atol=0.03)


def test_a_wide_matrix_and_its_transpose_get_the_same():
    for options in ({}, dict(channel=False)):
        tx = gx.scale_by_apollo(2, **options)
        g = jax.random.normal(jax.random.key(0), (3, 5))
        u, _ = tx.update(g, tx.init(g))
        other, _ = tx.update(g.T, tx.init(g.T))
        np.testing.assert_allclose(u, other.T, rtol=1e-12)


def test_columns_keep_their_direction_and_with_one_factor_the_matrix_does():
    g = jax.random.normal(jax.random.key(0), (3, 5))
    for channel, axis in ((True, 0), (False, None)):
        tx = gx.scale_by_apollo(2, channel=channel)
        u, state = tx.update(g, tx.init(g))
        u, _ = tx.update(g**3, state)
        factors = u / g**3
        assert np.ptp(factors, axis=axis) == pytest.approx(0.0, abs=1e-9)
        assert (np.ptp(factors) > 1e-3) == channel


def test_the_norm_grows_by_no_more_than_the_limit():
    g = jax.random.normal(jax.random.key(0), (3, 5))
    sizes = {}
    for limit in (1.05, float("inf")):
        tx = gx.scale_by_apollo(2, limit=limit)
        state, sizes[limit] = tx.init(g), []
        for factor in (0.0, 1.0, 1.0, 1.0, 0.0):
            _, state = tx.update(factor * g, state)
            sizes[limit].append(float(state.size))
    held, free = sizes[1.05], sizes[float("inf")]
    assert held[:2] == free[:2]  # zeros are nothing to compare with
    assert free[2] > 1.2 * free[1]
    np.testing.assert_allclose(held[2:4], [1.05 * held[1], 1.05**2 * held[1]], rtol=1e-6)
    assert held[4] == 0


def test_the_scale_is_under_a_root_and_the_mini_form_holds_next_to_nothing():
    g = jax.random.normal(jax.random.key(0), (3, 5))
    one, four = (tx.update(g, tx.init(g))[0] for tx in (gx.scale_by_apollo(2), gx.scale_by_apollo(2, scale=4.0)))
    np.testing.assert_allclose(four, 2 * one, rtol=1e-12)
    mini = gx.scale_by_apollo(1, scale=128.0, channel=False)
    assert [x.shape for x in jax.tree.leaves(mini.init(g))] == [(), (1, 5), (1, 5), ()]


def test_what_limits_nothing_or_all_is_refused():
    with refused(ValueError, "scale_by_apollo: limit must be in (0, inf], got 0"):
        gx.scale_by_apollo(2, limit=0.0)
    with refused(ValueError, "scale_by_apollo: scale must be in [0, inf), got -1"):
        gx.scale_by_apollo(2, scale=-1.0)
    with refused(ValueError, "scale_by_apollo: every must be a whole number in [1, 2147483647], got 0"):
        gx.scale_by_apollo(2, every=0)
