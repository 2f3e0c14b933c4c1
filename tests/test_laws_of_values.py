"""The laws of the design for values, over the whole catalogue."""

import functools
import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from gradtx.core.value import Value
from gradtx.expression import parse
from tests.catalogue import SCHEDULES, TRANSFORMATIONS
from tests.trees import f32, numbers, run, small, step, three, tree

members = pytest.mark.parametrize(
    "member", [pytest.param(m, marks=[pytest.mark.slow] * m.slow, id=repr(m.tx)) for m in TRANSFORMATIONS]
)
UNPRINTED = [m.tx for m in TRANSFORMATIONS if not m.printed]
values = pytest.mark.parametrize("value", [m.tx for m in TRANSFORMATIONS] + SCHEDULES, ids=repr)


# ---- nothing is missing ----


def test_catalogue_holds_every_public_factory():
    def recipes(value):
        inner = [part for x in value.arguments.values() for part in (x if type(x) is tuple else (x,))]
        return {value.recipe}.union(*(recipes(x) for x in inner if isinstance(x, Value)))

    held = set().union(*(recipes(m.tx) for m in TRANSFORMATIONS), *(recipes(s) for s in SCHEDULES))
    public = {name for name in gx.__all__ if isinstance(getattr(gx, name), gx.transformation | gx.schedule)}
    assert public - {recipe.__qualname__ for recipe in held} == set()
    assert len(public) > 60


# ---- a value survives every round trip ----


@values
def test_value_round_trips(value):
    leaves, structure = jax.tree.flatten(value)
    rebuilt = [pickle.loads(pickle.dumps(value)), structure.unflatten(leaves)]
    if value not in UNPRINTED:
        rebuilt.append(eval(repr(value), dict(vars(gx))))
        rebuilt += [parse(repr(value))] if isinstance(value, gx.Transformation) else []
    for other in [*rebuilt, value.replace()]:
        assert other == value
        assert (other != value) is False
        assert hash(other) == hash(value)
        assert repr(other) == repr(value)


@values
def test_values_differ_by_their_numbers(value):
    for i, leaf in enumerate(leaves := jax.tree.leaves(value)):
        changed = [*leaves[:i], leaf * 2 + 1, *leaves[i + 1 :]]
        other = jax.tree.unflatten(jax.tree.structure(value), changed)
        assert other != value
        assert (other == value) is False


@members
def test_value_with_arrays_for_numbers(member):
    for kind in (np.float32, f32):
        tx = jax.tree.map(kind, member.tx)
        assert tx == jax.tree.map(kind, member.tx)
        assert hash(tx) == hash(jax.tree.map(kind, member.tx))
        assert pickle.loads(pickle.dumps(tx)) == tx


# ---- a number, an array and a schedule are the same hyperparameter ----


def scanned(member, tx, params, gradients):
    def body(state, g):
        return member.update(g, state, params, tx=tx)[::-1]

    return jax.lax.scan(body, tx.init(params), jnp.stack(gradients))[1]


@members
def test_hyperparameter_kinds_agree(member):
    """All closed over as another kind, and each in turn as a schedule; and all traced, as arguments of jit."""
    given = {path: x for path, x in numbers(member.tx).items() if x is not None and path not in member.unused}
    kinds = [np.float64, np.float32, f32, gx.constant]
    of_kinds = [member.tx.replace(**{path: kind(x) for path, x in given.items()}) for kind in kinds]
    closed_over = [*of_kinds, *(member.tx.replace(**{path: gx.constant(x)}) for path, x in given.items())]
    params, gradients = tree()["a"]["w"], [g["a"]["w"] for g in three()]

    @jax.jit
    def updates_of_all(traced):
        return [scanned(member, tx, params, gradients) for tx in (member.tx, *closed_over, *traced)]

    expected, *others = updates_of_all(of_kinds)
    for tx, got in zip([*closed_over, *of_kinds], others, strict=True):
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-7, err_msg=repr(tx))


@members
def test_every_hyperparameter_matters(member):
    """None is dropped on the way to the formula: another number gives other updates, to the bit."""
    params, gradients = tree()["a"]["w"], [g["a"]["w"] for g in three()]
    updates = jax.jit(functools.partial(scanned, member, params=params, gradients=gradients))
    expected = updates(member.tx)
    for path, x in numbers(member.tx).items():
        if x is not None and path not in member.unused:
            changed = x + 1 if isinstance(x, int) else 0.25 if x == 0.5 else 0.5
            assert not np.array_equal(updates(member.tx.replace(**{path: changed})), expected), path


@members
def test_schedule_is_evaluated_at_the_count(member):
    """Under a schedule each step equals that of the transformation with that step's number, from the same state."""
    params = small()
    for path, number in numbers(member.tx).items():
        if number is None or number == 0.0:
            continue
        schedule = gx.linear(number, number + 2 if isinstance(number, int) else number / 2, 2)
        tx = member.tx.replace(**{path: schedule})
        state = tx.init(params)
        for t in range(3):
            now, g = member.tx.replace(**{path: float(schedule(t))}), small(t + 1)
            got, after = step(member, tx, g, state, params)
            expected, _ = step(member, now, g, as_plain(state, now.init(params)), params)
            chex.assert_trees_all_close(got, expected, rtol=2e-5, atol=1e-7)
            state = after


def as_plain(state, like):
    """The state without the frames that schedules add."""
    if isinstance(state, gx.ScheduledState):
        return as_plain(state.inner_state, like)
    if hasattr(state, "inner_state"):
        return state._replace(inner_state=as_plain(state.inner_state, like.inner_state))
    if type(state) is tuple:
        return tuple(as_plain(s, one) for s, one in zip(state, like, strict=True))
    if isinstance(state, dict):
        return {name: as_plain(s, like[name]) for name, s in state.items()}
    return state


# ---- Optax in both directions ----


@members
def test_inside_and_around_optax(member):
    params, gradients = small(dtype=jnp.float64), [small(seed, jnp.float64) for seed in (1, 2, 3)]
    expected, _ = run(member, params, gradients, gx.chain(gx.scale(2.0), member.tx))
    for mixed in (optax.chain(optax.scale(2.0), member.tx), gx.chain(optax.scale(2.0), member.tx)):
        state, at, one = mixed.init(params), params, jax.jit(functools.partial(member.update, tx=mixed))
        for g, want in zip(gradients, expected, strict=True):
            u, state = one(g, state, at)
            at = optax.apply_updates(at, u)
            chex.assert_trees_all_close(u, want, rtol=1e-12)


# ---- the chain is a monoid ----


@members
def test_chain_is_associative_with_identity(member):
    a, b = member.tx, gx.scale(0.5)
    assert gx.chain(gx.chain(a, b), a) == gx.chain(a, gx.chain(b, a)) == gx.chain(a, b, a)
    assert gx.chain(gx.chain(), a) == gx.chain(a) == gx.chain(a, gx.chain())
    gradients = [small(seed) for seed in (1, 2, 3)]
    got, _ = run(member, small(), gradients, gx.chain(a))
    expected, _ = run(member, small(), gradients)
    chex.assert_trees_all_close(got, expected, rtol=1e-6)
