"""Properties that hold for any numbers, looked for with Hypothesis."""

import pickle

import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import gradtx as gx

# The same examples in every run.
some = settings(max_examples=60, deadline=None, derandomize=True)

# ---- clipping ----

# Of six decimals, since XLA on the CPU takes numbers below 1e-308 for zero; of fixed shapes, to compile once.
elements = st.floats(-1e6, 1e6).map(lambda x: round(x, 6))
gradients = st.fixed_dictionaries(
    {"bias": arrays(float, (), elements=elements), "matrix": arrays(float, (3, 2), elements=elements)}
)
limits = st.floats(1e-3, 1e3)


def clipped(tx, grads):
    return jax.tree.map(np.asarray, tx.update(grads, tx.init(grads))[0])


def whole(tree):
    return np.concatenate([np.ravel(tree[name]) for name in ("bias", "matrix")])


def assert_shortened(vector, original, limit):
    """The original times a number of at most 1, no longer than the limit; both up to a few roundings."""
    length = np.linalg.norm(original)
    np.testing.assert_allclose(vector, original * min(1.0, limit / (length or 1.0)), rtol=2e-15)
    assert np.linalg.norm(vector) <= limit * (1 + 2e-15)


@some
@given(gradients, limits)
def test_clipping_never_exceeds_its_limit(grads, limit):
    for x in clipped(gx.clip_by_value(limit), grads).values():
        assert np.abs(x).max() <= limit


@some
@given(gradients, limits)
def test_clipping_by_norm_keeps_each_direction(grads, limit):
    for name, x in clipped(gx.clip_by_norm(limit), grads).items():
        assert_shortened(np.ravel(x), np.ravel(grads[name]), limit)


@some
@given(gradients, limits)
def test_clipping_by_global_norm_keeps_the_direction_of_the_whole(grads, limit):
    assert_shortened(whole(clipped(gx.clip_by_global_norm(limit), grads)), whole(grads), limit)


@some
@given(gradients, st.floats(1e-12, 10.0))
def test_clipping_changes_no_bit_below_its_limit(grads, distance):
    limit = float(np.linalg.norm(whole(grads)) or 1.0) * (1 + distance)
    for clip in (gx.clip_by_value, gx.clip_by_norm, gx.clip_by_global_norm):
        for name, x in clipped(clip(limit), grads).items():
            assert x.tobytes() == grads[name].tobytes()


# ---- random values ----

steps = st.integers(1, 1000)
real, positive, fraction = st.floats(-10, 10), st.floats(1e-3, 10), st.floats(0, 1)
decay, switch = st.floats(0, 1, exclude_max=True), st.booleans()


def joined(first, following, later):
    return first.then(following, at=getattr(first, "at", 0) + later)


def pieces(boundaries):
    values = st.lists(real, min_size=len(boundaries) + 1, max_size=len(boundaries) + 1)
    return values.map(lambda values: gx.piecewise_constant(tuple(sorted(boundaries)), tuple(values)))


schedules = st.recursive(
    st.builds(gx.constant, real)
    | st.builds(gx.linear, real, real, steps)
    | st.builds(gx.exponential, real, positive, steps, switch)
    | st.builds(gx.cosine, real, steps, real)
    | st.builds(gx.warmup, real, steps)
    | st.builds(gx.one_cycle, real, steps, st.floats(0, 0.5), st.floats(0, 0.5), positive, positive, switch)
    | st.builds(gx.cosine_restarts, real, steps, steps, positive, real)
    | st.sets(steps, max_size=3).flatmap(pieces),
    lambda inner: (
        st.builds(gx.per_epoch, inner, steps, switch)
        | st.builds(lambda a, b: a + b, inner, inner | real)
        | st.builds(lambda a, b: a * b, inner | real, inner)
        | st.builds(joined, inner, inner | real, steps)
    ),
    max_leaves=4,
)


def numbers(values):
    """A hyperparameter: a number or a schedule."""
    return values | schedules


rate, eps = numbers(positive), numbers(st.floats(0, 1))
velocity = dict(nesterov=switch, dampening=numbers(fraction))
rms = dict(decay=numbers(decay), eps=eps, eps_root=eps, centered=switch, debias=switch, initial=positive)
moments = dict(b1=numbers(decay), b2=numbers(decay), eps=eps)

transformations = st.recursive(
    st.builds(gx.identity)
    | st.builds(gx.conjugate)
    | st.builds(gx.scale, numbers(real))
    | st.builds(gx.scale_by_learning_rate, rate)
    | st.builds(gx.scale_by_momentum, numbers(fraction), **velocity)
    | st.builds(gx.ema, numbers(decay))
    | st.builds(gx.bias_correction, numbers(decay))
    | st.builds(gx.scale_by_rms, **rms)
    | st.builds(gx.scale_by_adam, **moments, eps_root=eps, nesterov=switch)
    | st.builds(gx.clip_by_value, numbers(positive))
    | st.builds(gx.clip_by_norm, numbers(positive))
    | st.builds(gx.clip_by_global_norm, numbers(positive))
    | st.builds(gx.add_decayed_weights, rate)
    | st.builds(gx.sgd, rate)
    | st.builds(gx.sgd, rate, numbers(fraction), **velocity)
    | st.builds(gx.rmsprop, rate, **rms)
    | st.builds(gx.rmsprop, rate, momentum=numbers(fraction), nesterov=switch, **rms)
    | st.builds(gx.adam, rate, **moments, eps_root=eps)
    | st.builds(gx.adamw, rate, **moments, weight_decay=rate)
    | st.builds(gx.nadam, rate, **moments, momentum_decay=st.none() | rate)
    | st.builds(gx.amsgrad, rate, **moments, debias_first=switch)
    | st.builds(gx.adamax, rate, **moments, eps_max=eps)
    | st.builds(gx.adagrad, rate, eps=eps, initial=positive)
    | st.builds(gx.adadelta, rate, numbers(decay))
    | st.builds(gx.lion, rate, weight_decay=rate)
    | st.builds(gx.soft_threshold, rate, rate)
    | st.builds(gx.constrain_norm, numbers(positive), st.integers(-2, 1)),
    lambda inner: st.lists(inner, max_size=4).map(lambda parts: gx.chain(*parts)),
    max_leaves=4,
)


def assert_round_trips(value):
    leaves, structure = jax.tree.flatten(value)
    assert all(isinstance(x, float | int) for x in leaves)
    for other in (
        eval(repr(value), dict(vars(gx))),
        pickle.loads(pickle.dumps(value)),
        jax.tree.unflatten(structure, leaves),
    ):
        assert other == value
        assert (hash(other), repr(other)) == (hash(value), repr(value))
        assert jax.tree.flatten(other) == (leaves, structure)


@some
@given(transformations)
def test_a_transformation_round_trips(tx):
    assert_round_trips(tx)


@some
@given(schedules)
def test_a_schedule_round_trips(schedule):
    assert_round_trips(schedule)


# ---- chains ----

parts = st.lists(transformations, max_size=3)


@some
@given(parts, parts, parts)
def test_chain_is_associative_with_an_identity(a, b, c):
    flat = gx.chain(*a, *b, *c)
    assert gx.chain(gx.chain(*a), gx.chain(*b), gx.chain(*c)) == flat
    assert gx.chain(gx.chain(gx.chain(*a), *b), *c) == flat
    assert gx.chain(*a, gx.chain(*b, gx.chain(*c))) == flat
    assert gx.chain(gx.chain(), flat, gx.chain()) == flat


@some
@given(gradients)
def test_the_empty_chain_returns_its_input(grads):
    for name, x in clipped(gx.chain(), grads).items():
        assert x.tobytes() == grads[name].tobytes()
