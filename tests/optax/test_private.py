"""Optax's aggregation of examples' gradients on gradtx, and its functions that bound them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax as real
import pytest

import gradtx as gx
import gradtx.optax as optax

W = {"a": jnp.zeros((2, 3)), "b": jnp.zeros(())}
RNG = np.random.default_rng(0)
EACH = {"a": jnp.asarray(RNG.normal(size=(4, 2, 3))), "b": jnp.asarray(RNG.normal(size=4))}


def test_means_and_noise_are_optaxs():
    for options in (dict(key=0), dict(key=jax.random.key(1))):
        own, theirs = (m.contrib.differentially_private_aggregate(0.5, 2.0, **options) for m in (optax, real))
        state: Any = theirs.init(W)
        for _ in range(2):
            got, after = own.update(EACH, state, W)
            expected, state = theirs.update(EACH, state)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), got, expected)
            assert (jax.random.key_data(after.rng_key) == jax.random.key_data(state.rng_key)).all()


def test_without_a_key_it_is_left_to_optax_which_warns():
    with pytest.warns(UserWarning, match="Specifying a key will be required"):
        optax.contrib.differentially_private_aggregate(1.0, 1.0).init(None)


def test_what_is_refused():
    tx = optax.contrib.dpsgd(0.1, 1.0, 1.0, seed=0)
    with pytest.raises(ValueError, match=r"updates\['a'\] has shape \(2, 3\), expected \('examples', 2, 3\)"):
        tx.update(W, tx.init(W), W)
    with pytest.raises(ValueError, match=r"updates\['b'\] has gradients of 3 examples, updates\['a'\] of 4"):
        tx.update(EACH | {"b": jnp.zeros(3)}, tx.init(W), W)
    with pytest.raises(TypeError, match="seed must be a whole number or a key such as"):
        optax.contrib.dpsgd(0.1, 1.0, 1.0, seed=0.5)
    with pytest.raises(ValueError, match="a part of Optax in front has changed the examples' gradients; put it first"):
        gx.chain(real.scale(1.0), tx).update(EACH, ((), tx.init(W)), W)


NORMS = [jnp.inf, 0.0, 1.25]
WHOLE = [jnp.array([[0, 0, 0], [0, 3, 4], [4, 0, 3], [3, 4, 0]])]


@pytest.mark.parametrize("grads", [WHOLE, EACH, {"a": EACH["a"] * (1.0 + 2.0j)}], ids=["whole", "real", "complex"])
@pytest.mark.parametrize("norm", NORMS)
def test_functions_of_trees_are_optaxs(grads, norm):
    for name, options in (("global", {}), ("layer", {}), ("layer", dict(uniform=False))):
        own, theirs = (getattr(m, f"per_example_{name}_norm_clip")(grads, norm, **options) for m in (optax, real))
        assert jax.tree.structure(own) == jax.tree.structure(theirs)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), own, theirs)


def test_functions_refuse_what_has_no_examples():
    for function in (optax.per_example_global_norm_clip, optax.transforms.per_example_layer_norm_clip):
        for wrong in ({"a": jnp.ones((2, 1)), "b": jnp.ones(())}, {"a": jnp.ones((2, 1)), "b": jnp.ones(3)}):
            with pytest.raises(ValueError, match=r"grads must have equally many examples .*; got shapes \(2, 1\), \("):
                function(wrong, 1.0)
    with pytest.raises(ValueError, match=r"per_example_global_norm_clip: grads must have .* got shapes of none"):
        optax.per_example_global_norm_clip([], 1.0)
