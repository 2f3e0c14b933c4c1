"""`cautious`: what its author's AdamW gives, and what is left where nothing agrees."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
import gradtx.optax as names
from tests.printed import fed

pytestmark = pytest.mark.slow


def stepped(direction, rate=0.1):
    return gx.chain(gx.cautious(direction), gx.scale_by_learning_rate(rate))


def test_printed():
    """The author's AdamW, whose eps is beside the root of v itself, and Adam as Optax has it."""
    author = fed(stepped(gx.scale_by_adam(eps=1e-6, eps_hat=True)))
    np.testing.assert_allclose(author, (4.5724640181, 5.2015008915), rtol=1e-10)
    np.testing.assert_allclose(fed(stepped(gx.scale_by_adam())), (4.5720078653, 5.2014262322), rtol=1e-10)


def test_another_cautious_lion_takes_the_sum_and_one_for_the_mean():
    """So it says for pytorch_optimizer's, whose numbers these are; with the mean its steps are longer."""

    def with_one_more(u, g):
        agrees = (u * g > 0).astype(u.dtype)
        return u * agrees * (agrees.size / (agrees.sum() + 1.0))

    lion = gx.scale_by_lion(0.95, 0.98)
    other = gx.chain(gx.parallel(lion, gx.identity(), join=with_one_more), gx.scale_by_learning_rate(0.1))
    np.testing.assert_allclose(fed(other), (5.45, 5.35), rtol=1e-12)
    np.testing.assert_allclose(fed(stepped(lion)), (5.03, 5.05), rtol=1e-12)


def test_what_is_left_is_as_large_as_all_was_and_agrees():
    g = jnp.asarray(np.random.default_rng(0).standard_normal(4000))
    for kept in (4000, 400, 5):
        u = jnp.where(jnp.arange(4000) < kept, g, -g)
        tx = gx.cautious(gx.chain(gx.scale_by_tree(u / g), gx.scale_by_sign()))
        out, _ = tx.update(g, tx.init(g))
        assert np.all(out * g >= 0)
        np.testing.assert_allclose(np.abs(out).sum(), 4000.0)


def test_where_nothing_agrees_nothing_moves():
    tx = gx.cautious(gx.scale_by_tree(-1.0))
    g = {"w": jnp.array([1.0, -1e-30]), "zero": jnp.zeros(3), "none": jnp.zeros((0, 2))}
    updates, _ = tx.update(g, tx.init(g))
    for x in updates.values():
        np.testing.assert_array_equal(x, np.zeros(x.shape))


def test_tiny_numbers_agree_too():
    """Their product is zero in float32."""
    g = jnp.array([1e-30, -1e-30], jnp.float32)
    tx = gx.cautious(gx.scale(1e-8))
    np.testing.assert_array_equal(tx.update(g, tx.init(g))[0], np.float32(1e-8) * g)


def test_it_can_be_switched_on_along_the_way():
    g = jnp.array([1.0, -2.0])
    plain, tx = gx.scale_by_adam(), gx.cautious(gx.scale_by_adam())
    _, state = plain.update(g, plain.init(g))
    np.testing.assert_allclose(tx.update(g, state)[0], plain.update(g, state)[0], rtol=1e-12)


def test_around_an_optimizer_the_sign_is_the_other_one():
    """However the sign was turned: by a rate, by a rule that has its length already, or by a part of Optax's."""
    random = np.random.default_rng(0)
    grads = [jnp.asarray(random.normal(size=8)) for _ in range(4)]
    inside = gx.chain(gx.cautious(gx.scale_by_adam()), gx.scale_by_learning_rate(0.1))
    late = optax.sgd(optax.linear_schedule(0.0, 0.1, 3))
    for tx in (gx.adam(0.1), optax.adam(0.1), late, gx.rprop(0.1), gx.madgrad(gx.linear(0.1, 0.0, 9)), names.adam(0.1)):
        around, w = gx.cautious(tx), jnp.zeros(8)
        state, expected = around.init(w), inside.init(w)
        for g in grads:
            u, state = around.update(g, state, w)
            assert not jnp.any(u * g > 0)
            other, expected = inside.update(g, expected, w)
            if "adam" in repr(tx) and isinstance(tx, gx.Transformation):
                np.testing.assert_allclose(u, other, rtol=1e-12)
        assert jnp.any(u != 0)


@pytest.mark.parametrize(
    "tx",
    [
        gx.chain(gx.scale_by_adam(), gx.scale(-0.1)),
        names.chain(names.scale_by_adam(), names.scale(-0.1)),
        names.inject_hyperparams(names.sgd)(0.1),
        optax.sgd(optax.join_schedules([lambda n: 0.0, lambda n: 0.1], [5])),
        optax.contrib.momo(),
    ],
    ids=lambda tx: repr(tx)[:30].split(" at ")[0],
)
@pytest.mark.parametrize("wrapper", [gx.cautious, lambda tx: gx.schedule_free(tx, 0.1)], ids=["mask", "average"])
def test_what_does_not_show_its_sign_is_refused(wrapper, tx):
    """In the place of steps that go up, or of none at all."""
    with pytest.raises(ValueError, match=r"can't tell whether .* goes along the gradient or down; give it the dir"):
        wrapper(tx)


def test_a_rate_that_is_traced_shows_no_sign():
    w = jnp.ones(2)
    with pytest.raises(ValueError, match="can't tell whether"):
        jax.jit(lambda rate: gx.cautious(optax.sgd(rate)).init(w))(0.1)


@pytest.mark.parametrize("name", ["prodigy", "dadapt_adamw", "momo", "cocob"])
def test_what_finds_its_rate_goes_down(name):
    tx, w, g = gx.cautious(getattr(names.contrib, name)()), jnp.ones(2), jnp.array([1.0, -2.0])
    state = tx.init(w)
    for _ in range(2):
        u, state = tx.update(g, state, w, **gx.extra_for(tx, dict(value=1.0)))
    assert jnp.all(u * g < 0)
