"""What a user does with a value: read it, change it, hand it around, write a new one."""

import copy
import os
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx

TX = gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(gx.warmup(1e-3, 10) * 0.5, weight_decay=0.1))


def test_prints_what_was_given_and_no_default():
    assert repr(TX) == (
        "chain(\n"
        "    clip_by_global_norm(max_norm=1.0),\n"
        "    adamw(learning_rate=(warmup(value=0.001, steps=10) * 0.5), weight_decay=0.1),\n"
        ")"
    )
    assert repr(TX.parts[1]) == "adamw(learning_rate=(warmup(value=0.001, steps=10) * 0.5), weight_decay=0.1)"
    assert repr(gx.sgd(lambda t: 0.1)).startswith("sgd(learning_rate=<test_prints_what_was_given")
    assert repr(gx.scale(jnp.float32(2.0))) == "scale(factor=np.float32(2.0))"
    assert repr(jax.vmap(gx.scale)(jnp.ones(3, jnp.float32))) == "scale(factor=float32[3])"
    assert repr(gx.chain(optax.trace(0.9), optax.adam(0.1))) == "chain(<optax.trace>, <optax.chain>)"


def test_reads_by_path_and_by_attribute():
    assert gx.hyperparameters(TX) == {
        "parts[0].max_norm": 1.0,
        "parts[1].learning_rate": gx.warmup(1e-3, 10) * 0.5,
        "parts[1].b1": 0.9,
        "parts[1].b2": 0.999,
        "parts[1].eps": 1e-8,
        "parts[1].weight_decay": 0.1,
        "parts[1].eps_root": 0.0,
    }
    assert TX.parts[1].learning_rate.a.steps == 10
    leaves = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(TX)}
    assert ".parts[1].learning_rate.a.value" in leaves
    assert ".parts[0].max_norm" in leaves


def test_replaces_by_name_and_by_path():
    other = TX.replace(weight_decay=0.2, steps=20)
    assert other.parts[1] == gx.adamw(gx.warmup(1e-3, 20) * 0.5, weight_decay=0.2)
    assert other.parts[0] == TX.parts[0]
    assert TX.replace(**{"parts[1].learning_rate": 0.1}).parts[1] == gx.adamw(0.1, weight_decay=0.1)
    assert TX.replace(**{"parts[0]": gx.identity()}).parts[0] == gx.identity()
    assert gx.sgd(0.1).replace(momentum=0.9) == gx.sgd(0.1, momentum=0.9)


def test_an_int_is_the_number_it_means():
    assert repr(gx.clip_by_norm(1)) == "clip_by_norm(max_norm=1.0)"
    assert gx.cosine(1, 10).steps == 10
    assert isinstance(gx.cosine(1, 10).steps, int)


def test_copies_are_equal():
    assert copy.deepcopy(TX) == copy.copy(TX) == TX


def test_different_factories_and_flags_are_different_values():
    assert gx.ema(0.9) != gx.bias_correction(0.9)
    assert gx.rmsprop(0.1) != gx.rmsprop(0.1, centered=True)
    assert gx.adam(0.1) != (gx.adam(0.1).init, gx.adam(0.1).update)
    assert len({gx.adam(0.1), gx.adam(0.1), gx.adam(0.2)}) == 2


def test_numbers_are_leaves_and_flags_are_structure():
    assert jax.tree.structure(gx.adam(0.1)) == jax.tree.structure(gx.adam(0.2))
    assert jax.tree.structure(gx.rmsprop(0.1)) != jax.tree.structure(gx.rmsprop(0.1, centered=True))
    doubled = jax.tree.map(lambda x: 2 * x, gx.clip_by_norm(1.0))
    assert doubled == gx.clip_by_norm(2.0)


def test_trains_many_rates_at_once_and_differentiates_through_one():
    def loss_after(tx):
        w, state = jnp.array([1.0, -2.0]), tx.init(jnp.zeros(2))
        for _ in range(3):
            updates, state = tx.update(2 * w, state, w)
            w = gx.apply_updates(w, updates)
        return jnp.sum(w**2)

    rates = jnp.array([0.1, 0.2, 0.3])
    many = jax.vmap(loss_after)(jax.vmap(gx.sgd)(rates))
    np.testing.assert_allclose(many, [loss_after(gx.sgd(float(rate))) for rate in rates], rtol=1e-12)
    slope = jax.grad(loss_after)(gx.sgd(0.1)).learning_rate
    near = [loss_after(gx.sgd(0.1 + h)) for h in (1e-6, -1e-6)]
    np.testing.assert_allclose(slope, (near[0] - near[1]) / 2e-6, rtol=1e-6)


# ---- states ----


def test_the_rate_of_the_last_step_is_in_the_state():
    for rate in (gx.linear(0.4, 0.0, 4), 0.4):
        tx = gx.sgd(rate)
        state = tx.init(jnp.ones(2))
        assert (int(state.count), float(state.learning_rate)) == (0, 0.4)
        for _ in range(2):
            _, state = tx.update(jnp.ones(2), state)
        assert float(state.learning_rate) == pytest.approx(0.4 if rate == 0.4 else 0.3)
        assert int(state.count) == 2


def test_the_state_of_a_scheduled_hyperparameter_shows_its_value():
    tx = gx.scale_by_momentum(gx.linear(0.0, 0.8, 4))
    state = tx.init(jnp.ones(2))
    for _ in range(3):
        _, state = tx.update(jnp.ones(2), state)
    assert isinstance(state, gx.ScheduledState)
    assert int(state.count) == 3
    np.testing.assert_allclose(state.hyperparams["decay"], 0.4)
    assert isinstance(state.inner_state, gx.ScaleByMomentumState)


@pytest.mark.parametrize(
    "tx", [gx.adam(gx.cosine(0.1, 10)), gx.scale_by_momentum(gx.constant(0.9)), gx.adam(0.1)], ids=repr
)
def test_the_count_saturates(tx):
    params = jnp.ones(2)
    last = jnp.iinfo(jnp.int32).max
    state = jax.tree.map(lambda x: jnp.full_like(x, last) if x.dtype == jnp.int32 else x, tx.init(params))
    updates, state = tx.update(params, state)
    assert all(int(x) == last for x in jax.tree.leaves(state) if x.dtype == jnp.int32)
    assert np.isfinite(updates).all()


def test_state_is_laid_out_like_sharded_parameters():
    code = """
import jax, jax.numpy as jnp, gradtx as gx
from jax.sharding import NamedSharding, PartitionSpec
mesh = jax.make_mesh((2,), ("x",))
split = NamedSharding(mesh, PartitionSpec("x"))
w = jax.device_put(jnp.ones((4, 3)), split)
tx = gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(0.1))
state = tx.init(w)
assert state[1][0].mu.sharding == split, state[1][0].mu.sharding
updates, state = tx.update(w, state, w)
assert updates.sharding.is_equivalent_to(split, 2) and state[1][0].nu.sharding.is_equivalent_to(split, 2)
"""
    run_python(code, XLA_FLAGS="--xla_force_host_platform_device_count=2", JAX_PLATFORMS="cpu")


def run_python(code, **environment):
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=os.environ | environment, check=True, timeout=120)


def test_building_a_value_starts_no_device():
    """A value may be built before `jax.distributed.initialize`: without any JAX backend to be had."""
    code = """
import gradtx as gx
tx = gx.chain(gx.clip_by_norm(1.0), gx.adamw(gx.warmup(0.1, 5).then(gx.cosine(0.1, 10), at=5)), gx.scale(lambda t: t))
hash(tx), repr(tx), gx.hyperparameters(tx), tx.replace(max_norm=2.0), tx == tx.replace()
"""
    run_python(code, JAX_PLATFORMS="none_such")


# ---- writing a new one ----


def test_a_factory_may_compute_with_arrays_while_it_builds():
    @gx.transformation
    def scale_by_exp(x: gx.Scalar):
        factor = jnp.exp(x)  # a tracer of the first trace, were it not kept out of it
        return gx.stateless(lambda g: factor * g)

    tx = jax.tree.map(lambda x: x, scale_by_exp(0.0))  # not built yet
    for size in (2, 3):
        g = jnp.ones(size)
        np.testing.assert_allclose(jax.jit(lambda g: tx.update(g, tx.init(g))[0])(g), g)


def test_a_formula_may_reduce_an_array_and_keep_a_scalar():
    class State(gx.ScaleByMomentumState):
        pass

    @gx.transformation
    def scale_by_largest():
        def init(p):
            return dict(trace=jnp.zeros([], p.dtype))

        def update(g, state):
            largest = jnp.maximum(state.trace, jnp.max(jnp.abs(g)))
            return g / largest, dict(trace=largest)

        return gx.per_array(State, init, update)

    tx, g = scale_by_largest(), {"a": jnp.array([1.0, -4.0]), "b": jnp.array([[2.0]], jnp.bfloat16)}
    updates, state = tx.update(g, tx.init(g))
    np.testing.assert_allclose(updates["a"], [0.25, -1.0])
    assert updates["b"].dtype == jnp.bfloat16
    assert state.trace == {"a": 4.0, "b": 2.0}


def test_init_gives_every_field_a_buffer_of_its_own():
    @gx.transformation
    def keeps_two():
        def init(p):
            return dict(mu=p, nu=p)

        return gx.per_array(gx.ScaleByAdamState, init, lambda g, state: (g, dict(mu=g, nu=g)))

    p = jnp.ones(3)
    state = keeps_two().init(p)
    assert len({x.unsafe_buffer_pointer() for x in (p, state.mu, state.nu)}) == 3


def test_a_wrapper_takes_any_inner_transformation():
    @gx.transformation
    def every_other(inner: optax.GradientTransformationExtraArgs, sign: gx.Scalar = 1.0):
        def update(updates, state, params=None, **extra):
            count, kept = state
            updates, after = inner.update(updates, kept, params, **extra)
            skip = count % 2 == 1
            updates = jax.tree.map(lambda u: jnp.where(skip, 0.0, sign * u), updates)
            return updates, (count + 1, jax.tree.map(lambda a, b: jnp.where(skip, a, b), kept, after))

        return lambda params: (jnp.zeros([], int), inner.init(params)), update

    inner: list[Any] = [gx.adam(0.1), optax.adam(0.1), optax.sgd(0.1)]
    for inside in inner:
        tx = every_other(inside, sign=-1.0)
        w = jnp.ones(2)
        state = tx.init(w)
        for t in range(3):
            updates, state = tx.update(w, state, w, value=1.0)
            assert bool((updates == 0).all()) == (t == 1)
        assert tx == every_other(inside, sign=-1.0)
    assert gx.hyperparameters(every_other(gx.sgd(0.1))) == {"inner.learning_rate": 0.1, "inner.momentum": None,
                                                            "inner.dampening": 0.0, "sign": 1.0}  # fmt: skip


def test_a_hyperparameter_may_be_a_tuple_of_numbers():
    @gx.transformation
    def scale_twice(factors: tuple[gx.Fraction, ...]):
        return gx.stateless(lambda g: factors[0] * factors[1] * g)

    tx = scale_twice((1, 0.5))
    assert gx.hyperparameters(gx.chain(tx)) == {"parts[0].factors[0]": 1.0, "parts[0].factors[1]": 0.5}
    assert tx.replace(**{"factors[0]": 0.5}) == scale_twice((0.5, 0.5))
    run = jax.vmap(lambda x: scale_twice((x, 0.5)).update(jnp.ones(2), tx.init(jnp.ones(2)))[0])
    np.testing.assert_array_equal(run(jnp.array([1.0, 0.5])), [[0.5, 0.5], [0.25, 0.25]])
    with pytest.raises(ValueError, match=r"scale_twice: factors\[1\] must be in \[0, 1\], got 2"):
        scale_twice((0.5, 2))
    with pytest.raises(TypeError, match=r"scale_twice: factors must be a tuple of numbers, got float 0.5"):
        scale_twice(0.5)  # pyright: ignore[reportArgumentType]  # refused by a type checker too
