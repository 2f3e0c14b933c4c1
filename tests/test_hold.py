"""A step that may be left out, for states of every make."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradtx.wrappers.hold import taken

G = jnp.array([2.0, -3.0])
ONE = jnp.ones(2)


def same(g, state):
    return g, state


def one_value_twice(g, state):
    new = 2.0 * state[0] + g
    return new, (new, new)


def new_is_an_input(g, state):
    return g * state[0], (g, state[0])


def a_constant(g, state):
    return g, (ONE, 3.0 * ONE)


def in_jit(g, state):
    inner = jax.jit(lambda g, a, b: (a * g, a + g, b))
    u, a, b = jax.jit(lambda g, a, b: inner(g, b, a))(g, *state)
    return u + a, (a, b)


def in_another_dtype(g, state):
    return g, tuple((x * g).astype(jnp.float32) for x in state)


def in_another_shape_on_the_way(g, state):
    total = jnp.sum(state[0] * g)
    return g * total, (total * ONE, jax.nn.relu(state[1] - g))


def with_a_gradient_of_its_own(g, state):
    @jax.custom_jvp
    def twice(x):
        return 2.0 * x

    twice.defjvp(lambda x, t: (twice(*x), 2.0 * t[0]))

    @jax.custom_vjp
    def shifted(x):
        return x + 1.0

    shifted.defvjp(lambda x: (x + 1.0, None), lambda _, t: (t,))
    new = shifted(twice(state[0]) + jax.checkpoint(jnp.sin)(g))
    return new, (new, state[1] + new)


def with_a_branch(g, state):
    a, b = jax.lax.cond(g[0] > 0, lambda: (state[0] + g, state[1]), lambda: state)
    return a * b, (a, b)


def with_a_loop_in_jit(g, state):
    return g, (state[0], jax.jit(lambda x: jax.lax.fori_loop(0, 2, lambda i, x: x + g, x))(state[1]))


STEPS = [
    same,
    one_value_twice,
    new_is_an_input,
    a_constant,
    in_jit,
    in_another_dtype,
    in_another_shape_on_the_way,
    with_a_gradient_of_its_own,
    with_a_branch,
    with_a_loop_in_jit,
]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("way", [jax.jit, lambda f: f], ids=["jit", "as written"])
def test_a_step_is_taken_or_left(step, way):
    state = jnp.array([1.5, 2.5]), jnp.array([-1.0, 4.0])
    run = way(lambda ok, g, state: taken(ok, step, g, state))
    u, after = run(jnp.array(True), G, state)
    expected_u, expected = step(G, state)
    np.testing.assert_allclose(u, expected_u)
    for x, want, old in zip(after, expected, state, strict=True):
        np.testing.assert_allclose(x, want)
        assert x.dtype == old.dtype
    u, after = run(jnp.array(False), G * jnp.nan, state)
    np.testing.assert_array_equal(u, 0.0)
    for x, old in zip(after, state, strict=True):
        np.testing.assert_array_equal(x, old)


def test_counts_keys_flags_and_nothing():
    state = {
        "count": jnp.array(3),
        "key": jax.random.key(1),
        "flag": jnp.array(True),
        "none": None,
        "raw": np.float32(2),
    }

    def step(g, state):
        after = dict(count=state["count"] + 1, key=jax.random.fold_in(state["key"], 1), flag=~state["flag"])
        return g, after | {"none": None, "raw": state["raw"] * 2}

    for ok in (True, False):
        _, after = jax.jit(lambda ok, g, s: taken(ok, step, g, s))(jnp.array(ok), {"a": G, "b": None}, state)
        want = step(G, state)[1] if ok else state
        np.testing.assert_array_equal(jax.random.key_data(after["key"]), jax.random.key_data(want["key"]))
        assert [after[name] == want[name] for name in ("count", "flag", "raw")] == [True] * 3


def test_it_is_differentiated_and_mapped():
    def end(ok, g, a):
        u, (b, _) = taken(ok, with_a_gradient_of_its_own, g, (a, a))
        return jnp.sum(u * b)

    for flag in (True, False):
        slopes = jax.grad(end, argnums=(1, 2))(jnp.array(flag), G, ONE)
        expected = (2 * (3 * ONE + jnp.sin(G)) * jnp.cos(G), 4 * (3 * ONE + jnp.sin(G))) if flag else (0 * G, 0 * G)
        np.testing.assert_allclose(slopes, expected, rtol=1e-12)
    flags = jnp.array([True, False])
    both = jax.vmap(end, in_axes=(0, None, None))(flags, G, ONE)
    np.testing.assert_allclose(both, [end(x, G, ONE) for x in flags])
