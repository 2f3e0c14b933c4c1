"""Rules that find their rate: against their formulas in NumPy, what peers printed, and what they promise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from gradtx.values.value import text_of
from tests.printed import TREE, descended, fed, path
from tests.reference import distance_free as rules
from tests.refusals import refused

pytestmark = pytest.mark.slow

STEPS = 25
SIZE = 9  # of both arrays of the tree as one vector
CURVATURE = np.linspace(0.2, 1.5, SIZE)
NOISE = 0.3 * np.random.default_rng(5).normal(size=(STEPS, SIZE))
START = np.concatenate([np.ravel(TREE["m"]), TREE["v"]])


def grad(w, t):
    return CURVATURE * w + NOISE[t]


def loss(w, t):
    return 1.0 + 0.5 * np.sum(CURVATURE * w**2) + NOISE[t] @ w


def flat(tree):
    return jnp.concatenate([jnp.ravel(tree["m"]), tree["v"]])


def as_tree(vector):
    return {"m": jnp.reshape(vector[:6], (2, 3)), "v": vector[6:]}


def noisy(params, noise):
    w = flat(params)
    return 1.0 + 0.5 * jnp.sum(CURVATURE * w**2) + jnp.sum(noise * w)


@jax.jit
def trained(tx, scale=1.0):
    """The parameters as one vector and the state behind each step."""

    def step(carry, noise):
        params, state = carry
        of_noise = functools.partial(noisy, noise=noise)
        value, g = jax.value_and_grad(of_noise)(params)
        g = jax.tree.map(lambda x: scale * x, g)
        extra = gx.extra_for(tx, dict(value=value, grad=g, value_fn=of_noise))
        updates, state = tx.update(g, state, params, **extra)
        params = gx.apply_updates(params, updates)
        return (params, state), (flat(params), state)

    params = as_tree(jnp.asarray(START))
    return jax.lax.scan(step, (params, tx.init(params)), NOISE)[1]


FOURTH = [0, 4, 6]  # every fourth element of each array
SEARCH = gx.chain(gx.sgd(1.0), gx.scale_by_backtracking_linesearch(4, max_learning_rate=4.0, slope_rtol=0.3))
FORMULAS = [
    (gx.dog(), rules.dog(START, grad, STEPS)),
    (gx.dog(reps=0.1, eps=1.0), rules.dog(START, grad, STEPS, 0.1, 1.0)),
    (gx.dog(initial_distance=0.1), rules.dog(START, grad, STEPS, distance=0.1)),
    (gx.dog(initial_rate=0.1), rules.dog(START, grad, STEPS, rate=0.1)),
    (gx.dog(initial_distance=2.0, initial_rate=0.1), rules.dog(START, grad, STEPS, distance=2.0, rate=0.1)),
    (gx.dowg(), rules.dowg(START, grad, STEPS)),
    (gx.dowg(eps=0.01, initial_distance=0.5), rules.dowg(START, grad, STEPS, 0.01, 0.5)),
    (gx.prodigy(d0=0.01), rules.prodigy(START, grad, STEPS, d0=0.01)),
    (
        gx.prodigy(0.5, 0.8, 0.99, 0.9, 1e-3, 0.1, d0=0.01, coef=2.0, debias=True),
        rules.prodigy(START, grad, STEPS, 0.5, 0.8, 0.99, 0.9, 1e-3, 0.1, 0.01, 2.0, debias=True),
    ),
    (gx.prodigy(d0=0.01, safeguard=True), rules.prodigy(START, grad, STEPS, d0=0.01, safeguard=True)),
    (gx.prodigy(d0=0.01, growth_rate=1.02), rules.prodigy(START, grad, STEPS, d0=0.01, growth=1.02)),
    (gx.prodigy(d0=0.01, slice_p=4), rules.prodigy(START, grad, STEPS, d0=0.01, kept=FOURTH)),
    (
        gx.prodigy(0.5, d0=0.01, debias=True, growth_rate=gx.constant(1.5), slice_p=4),
        rules.prodigy(START, grad, STEPS, 0.5, d0=0.01, debias=True, growth=1.5, kept=FOURTH),
    ),
    (gx.dadapt_adamw(d0=0.01, growth_rate=1.02), rules.dadapt_adamw(START, grad, STEPS, d0=0.01, growth=1.02)),
    (gx.dadapt_adamw(d0=0.01), rules.dadapt_adamw(START, grad, STEPS, d0=0.01)),
    (
        gx.dadapt_adamw(0.5, 0.8, 0.99, 1e-3, 0.1, d0=0.01),
        rules.dadapt_adamw(START, grad, STEPS, 0.5, 0.8, 0.99, 1e-3, 0.1, 0.01),
    ),
    (gx.polyak(0.5), rules.polyak(START, grad, loss, STEPS, 0.5)),
    (gx.polyak(3.0, 2.0, 0.1), rules.polyak(START, grad, loss, STEPS, 3.0, 2.0, 0.1)),
    (gx.polyak(3.0, 2.0, positive=True), rules.polyak(START, grad, loss, STEPS, 3.0, 2.0, positive=True)),
    (gx.momo(), rules.momo(START, grad, loss, STEPS)),
    (gx.momo(3.0, 0.5, 0.7, 0.1), rules.momo(START, grad, loss, STEPS, 3.0, 0.5, 0.7, 0.1)),
    (
        gx.momo(3.0, weight_decay=0.1, adapt_lower_bound=True),
        rules.momo(START, grad, loss, STEPS, 3.0, decay=0.1, adapt=True),
    ),
    (gx.momo_adam(1.0, lower_bound=0.5), rules.momo_adam(START, grad, loss, STEPS, 1.0, lower=0.5)),
    (
        gx.momo_adam(2.0, 0.8, 0.99, 1e-3, 0.5, 0.1, adapt_lower_bound=True),
        rules.momo_adam(START, grad, loss, STEPS, 2.0, 0.8, 0.99, 1e-3, 0.5, 0.1, adapt=True),
    ),
    (gx.cocob(), rules.cocob(START, grad, STEPS)),
    (gx.cocob(3.0, 2.0), rules.cocob(START, grad, STEPS, 3.0, 2.0)),
    (SEARCH, rules.backtracking(START, grad, loss, STEPS, 4, 0.3, largest=4.0)),
]


@pytest.mark.parametrize(("tx", "formula"), FORMULAS, ids=[text_of(tx) for tx, _ in FORMULAS])
def test_the_path_is_that_of_the_formula(tx, formula):
    expected = np.stack(list(formula))
    assert np.ptp(expected, axis=0).max() > 1e-5, "nothing happens here"
    np.testing.assert_allclose(trained(tx)[0], expected, rtol=1e-9, atol=1e-12)


def test_scale_by_distance_is_dog_on_each_array():
    tx = gx.chain(gx.scale_by_distance(0.1, 0.5), gx.scale(-1.0))
    own = [slice(0, 6), slice(6, 9)]
    parts = [
        np.stack(list(rules.dog(START[i], lambda w, t, i=i: CURVATURE[i] * w + NOISE[t][i], STEPS, 0.1, 0.5)))
        for i in own
    ]
    np.testing.assert_allclose(trained(tx)[0], np.concatenate(parts, axis=1), rtol=1e-10)


PRINTED = [  # by Optax 0.2.8 and by the authors, to ten digits behind the point
    (gx.dog(), (7.7499635909, 5.9999941276)),
    (gx.dog(initial_distance=0.1), (7.1223045359, 5.8972002824)),
    (gx.dog(initial_rate=0.1), (5.7817864430, 5.6653914006)),
    (gx.dowg(), (7.6787453251, 5.9884884269)),
    (gx.chain(gx.scale_by_distance(), gx.scale(-1.0)), (7.7499718104, 5.9999900300)),
    (gx.polyak(), (0.0, 3.6651989688)),
    (gx.polyak(0.1), (5.6497500000, 5.6412343750)),
    (gx.prodigy(d0=0.1, debias=True), (6.3411203217, 5.4014842774)),
    (gx.prodigy(weight_decay=0.1, d0=0.1, debias=True), (6.2872745383, 5.3577509951)),
    (gx.prodigy(d0=0.1), (5.5682061282, 3.2703287962)),
    (gx.prodigy(), (7.7499241325, 5.9999696530)),
    (gx.dadapt_adamw(d0=0.1), (5.9444191850, 5.1111255617)),
    (gx.dadapt_adamw(), (7.7499770379, 5.9999908152)),
    (gx.momo(), (2.6074135830, 5.1678935422)),
    (gx.momo(adapt_lower_bound=True), (2.7233475440, 5.1875588666)),
    (gx.momo(weight_decay=0.1), (2.5435960299, 3.9790027285)),
    (gx.momo_adam(0.1), (6.3411193328, 5.4014840668)),
    (gx.cocob(), (7.6006409626, 5.9385163113)),
    (gx.chain(gx.sgd(1.0), gx.scale_by_backtracking_linesearch()), (0.0, 3.2968750000)),
]


@pytest.mark.parametrize(("tx", "numbers"), PRINTED, ids=[text_of(tx) for tx, _ in PRINTED])
def test_what_peers_printed(tx, numbers):
    np.testing.assert_allclose(descended(tx), numbers, rtol=0, atol=6e-11)


# ---- what they promise ----


@pytest.mark.parametrize("tx", [gx.dog(eps=0.0), gx.dowg(eps=0.0, initial_distance=0.1)], ids=repr)
def test_the_path_does_not_turn_on_the_units_of_the_loss(tx):
    np.testing.assert_allclose(trained(tx, 1000.0)[0], trained(tx)[0], rtol=1e-9)


@pytest.mark.parametrize("tx", [gx.prodigy(d0=0.01), gx.dadapt_adamw(d0=0.01)], ids=repr)
def test_the_distance_never_falls(tx):
    d = trained(tx)[1].estim_lr
    assert (np.diff(d) >= 0).all()
    assert d[-1] > 10 * 0.01


@pytest.mark.parametrize("tx", [gx.prodigy(d0=0.25), gx.dadapt_adamw(d0=0.25)], ids=repr)
def test_the_distance_stays_while_gradients_lead_back(tx):
    params = jnp.array([1.0, -2.0])
    state = tx.init(params)
    for sign in (1.0, -1.0, 0.5, -0.5):
        updates, state = tx.update(sign * jnp.array([1.0, 2.0]), state, params)
        params = gx.apply_updates(params, updates)
        assert state.estim_lr == 0.25
    assert state.numerator_weighted < 0


FREE = [gx.dog(), gx.dowg(), gx.prodigy(), gx.dadapt_adamw(), gx.polyak(), gx.momo(), gx.momo_adam(), gx.cocob()]


@pytest.mark.parametrize("tx", FREE, ids=repr)
def test_gradients_of_zero_leave_all_as_it_is(tx):
    zero = jax.tree.map(jnp.zeros_like, TREE)
    params, state = path(tx, lambda t, params: zero, 2)
    jax.tree.map(np.testing.assert_array_equal, params, TREE)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))


def test_the_first_rate_waits_for_a_gradient():
    tx, w = gx.scale_by_dog(initial_rate=0.5), jnp.array([1.0])
    _, state = tx.update(jnp.zeros(1), tx.init(w), w)
    np.testing.assert_array_equal(tx.update(jnp.array([3.0]), state, w)[0], [1.5])


def test_without_a_bound_in_reach_momo_adam_is_adam():
    np.testing.assert_allclose(fed(gx.momo_adam(0.1, lower_bound=-1e9)), fed(gx.adam(0.1)), rtol=1e-12)


def test_without_a_longer_way_prodigy_is_adam():
    adam = gx.chain(gx.scale_by_adam(eps_hat=True), gx.scale_by_learning_rate(0.1))
    np.testing.assert_allclose(fed(gx.prodigy(d0=0.1, coef=1e-30, debias=True)), fed(adam), rtol=1e-12)


# ---- where only some arrays are in sight ----


def test_in_a_group_the_distance_is_that_of_its_arrays():
    only_m = gx.masked(gx.scale_by_dog(reps=0.1), gx.by_path("m"))
    alone = gx.scale_by_dog(reps=0.1)
    g = {"m": jnp.ones((2, 3)), "v": jnp.full(3, 7.0)}
    state, own = only_m.init(TREE), alone.init(TREE["m"])
    for _ in range(2):
        got, state = only_m.update(g, state, TREE)
        expected, own = alone.update(g["m"], own, TREE["m"])
    np.testing.assert_array_equal(got["m"], expected)
    np.testing.assert_array_equal(got["v"], g["v"])


@pytest.mark.parametrize("tx", [gx.scale_by_polyak(), gx.momo(), gx.momo_adam()], ids=repr)
def test_what_divides_the_loss_needs_all_arrays(tx):
    group = gx.only(tx, gx.by_path("m"))
    with refused(
        ValueError,
        "only some arrays of the tree are in sight here; the loss is that of all arrays; for others to stay, freeze",
    ):
        group.update(TREE, group.init(TREE), TREE, value=1.0)


@pytest.mark.parametrize("tx", [gx.polyak(2.0), gx.momo(2.0), gx.momo_adam(2.0)], ids=repr)
def test_frozen_arrays_have_no_share_in_the_step(tx):
    frozen, alone = gx.chain(gx.freeze(gx.by_path("v")), tx), tx
    g = {"m": jnp.ones((2, 3)), "v": jnp.full(3, 7.0)}
    got, _ = frozen.update(g, frozen.init(TREE), TREE, value=3.0)
    expected, _ = alone.update(g["m"], alone.init(TREE["m"]), TREE["m"], value=3.0)
    np.testing.assert_allclose(got["m"], expected, rtol=1e-12)
    np.testing.assert_array_equal(got["v"], 0.0)


@pytest.mark.parametrize("factory", [gx.prodigy, gx.dadapt_adamw])
def test_a_mask_says_which_arrays_decay(factory):
    g = jax.tree.map(jnp.ones_like, TREE)
    tx, everywhere, nowhere = (
        factory(weight_decay=decay, mask=mask, d0=0.1)
        for decay, mask in ((0.5, gx.by_path("m")), (0.5, None), (0.0, None))
    )
    got, expected, without = (tx.update(g, tx.init(TREE), TREE)[0] for tx in (tx, everywhere, nowhere))
    np.testing.assert_array_equal(got["m"], expected["m"])
    np.testing.assert_array_equal(got["v"], without["v"])
    assert (expected["v"] != without["v"]).all()
    assert "decayed" in str(gx.explain(tx, TREE))
    with pytest.raises(ValueError, match=f"{factory.__qualname__}: mask"):
        factory(mask=gx.by_path("nothing")).init(TREE)


# ---- bad input ----


@pytest.mark.parametrize("tx", [gx.dog(), gx.dowg(), gx.prodigy(), gx.dadapt_adamw(), gx.momo(), gx.cocob()], ids=repr)
def test_the_parameters_are_needed(tx):
    with refused(ValueError, "update needs the parameters: call update(updates, state, params)"):
        tx.update(TREE, tx.init(TREE), value=1.0)


@pytest.mark.parametrize("tx", [gx.polyak(), gx.momo(), gx.momo_adam()], ids=repr)
def test_the_loss_is_needed(tx):
    with refused(TypeError, "update needs value: call update(updates, state, params, value=…)"):
        tx.update(TREE, tx.init(TREE), TREE)
    with refused(ValueError, "value must be a real scalar, got float64[3]; give one number, such as the mean"):
        tx.update(TREE, tx.init(TREE), TREE, value=TREE["v"])


@pytest.mark.parametrize(("tx", "name"), [(gx.dog(), "init_params"), (gx.prodigy(), "exp_avg")])
def test_a_state_of_other_parameters_is_refused(tx, name):
    other = tx.init(TREE | {"v": jnp.ones(4)})
    with pytest.raises(ValueError, match=name):
        tx.update(TREE, other, TREE)
