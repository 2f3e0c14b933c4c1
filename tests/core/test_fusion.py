"""Programs of which each result is computed apart, and when that is done. What XLA makes of them is in test_joined."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from gradtx.core import flow, fusion
from gradtx.core.fusion import is_splittable, joins_loops, set_apart


class Mean(NamedTuple):
    mu: Any


G, ROW = jnp.array([3.0, -4.0]), jnp.array([1.0, 2.0])


@pytest.fixture
def fresh():
    joins_loops.cache_clear()
    yield
    joins_loops.cache_clear()


@pytest.fixture
def joined(monkeypatch):
    """As where XLA joins loops."""
    monkeypatch.setattr(flow, "joins_loops", lambda: True)


def barriers(function, *args):
    return str(jax.make_jaxpr(function)(*args)).count("optimization_barrier")


def averaged(g, rows, p):
    mean = 0.9 * rows[0] + 0.1 * g
    return mean / (jnp.sqrt(jnp.sum(g * g)) + 1.0), [{"mean": mean}]


def test_each_result_is_what_it_is_together_with_the_others():
    u, (row,) = jax.jit(set_apart(averaged))(G, [ROW], None)
    mean = 0.9 * np.array([1.0, 2.0]) + 0.1 * np.array([3.0, -4.0])
    np.testing.assert_allclose(u, mean / 6.0, rtol=1e-15)
    np.testing.assert_allclose(row["mean"], mean, rtol=1e-15)


def test_a_norm_is_computed_once_for_all_results():
    assert str(jax.make_jaxpr(set_apart(averaged))(G, [ROW], None)).count("reduce_sum") == 1
    assert barriers(set_apart(averaged), G, [ROW], None) == 3  # the numbers beside the array, then one for each result


@pytest.mark.parametrize(
    "run",
    [
        lambda g, rows, p: (2.0 * g, []),
        lambda g, rows, p: (g + jax.random.normal(jax.random.key(0), g.shape), [rows[0] + g]),
        lambda g, rows, p: (g / jnp.sum(g * rows[0]), [rows[0] + g]),
        lambda g, rows, p: (g.astype(jnp.float32), [rows[0] + g]),
        lambda g, rows, p: (jnp.cumsum(g), [rows[0] + g]),
        lambda g, rows, p: (g + jnp.array([1.0, 5.0]), [rows[0] + g]),
    ],
    ids=[
        "one result",
        "random",
        "a norm of what several arrays make",
        "of two dtypes",
        "elements of others",
        "an array of its own",
    ],
)
def test_what_would_be_dearer_stays_together(run):
    assert barriers(set_apart(run), G, [ROW], None) == 0
    for x, y in zip(*(jax.tree.leaves(f(G, [ROW], None)) for f in (set_apart(run), run)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12)


def test_what_reads_too_many_arrays_stays_together():
    def run(g, rows, p):
        return g + sum(rows), [rows[0] + g]

    assert barriers(set_apart(run), G, [ROW] * 15, None) > 0
    assert barriers(set_apart(run), G, [ROW] * 16, None) == 0


def test_numbers_and_weak_types_stay_together():
    def run(g, rows, p):
        return g + rows[0], [g * rows[0]]

    assert barriers(set_apart(run), G[0], [ROW[0]], None) == 0
    assert barriers(lambda: set_apart(run)(jnp.full(2, 1.0), [ROW], None)) == 0


def test_a_square_root_stays_one():
    """A power whose exponent is behind a barrier would be computed as any power."""
    program = jax.make_jaxpr(set_apart(lambda g, rows, p: (rows[0] ** 0.5, [rows[0] + g])))(G, [ROW], None)
    assert "pow" in str(program)
    assert "0.5:f" in str(program)


def test_a_program_is_split_only_where_each_element_is_made_of_those_in_its_place():
    def ask(run):
        return is_splittable(jax.make_jaxpr(run)(G, ROW), G.shape)

    assert ask(lambda g, m: (g * m, jnp.where(g > 0, m, 0.0), g / jnp.max(g)))
    assert not ask(lambda g, m: (g[::-1], m))
    assert not ask(lambda g, m: jax.lax.cond(g[0] > 0, lambda: (g, m), lambda: (m, g)))


@pytest.mark.parametrize("tx", [gx.adam(0.1), gx.novograd(0.1), gx.skip_nonfinite(gx.adam(0.1))], ids=repr)
def test_without_the_option_no_step_has_a_barrier(tx):
    assert not joins_loops()
    assert barriers(tx.update, G, tx.init(G), G) == 0


def test_arrays_of_one_shape_still_share_one_trace(joined):
    traces = []

    @gx.transformation
    def counting():
        def update(g, state):
            traces.append(g.shape)
            return g + state.mu, dict(mu=g)

        return gx.per_array(Mean, lambda p: dict(mu=jnp.zeros_like(p)), update)

    tx, params = counting(), [G, 2 * G, jnp.ones(3)]
    jax.jit(tx.update)(params, tx.init(params))
    assert sorted(traces) == [(2,), (3,)]


def test_elsewhere_than_on_cpus_nothing_is_compiled(fresh, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(fusion, "joins_two", lambda: pytest.fail("compiled"))
    assert not joins_loops()


def test_where_the_question_fails_the_answer_is_no(fresh, monkeypatch):
    def fail(run):
        raise RuntimeError

    monkeypatch.setattr(fusion, "set_apart", fail)
    assert not joins_loops()


def test_it_is_asked_once(fresh, monkeypatch):
    asked = []
    monkeypatch.setattr(fusion, "joins_two", lambda: asked.append(1) or True)
    assert joins_loops()
    assert joins_loops()
    assert asked == [1]
