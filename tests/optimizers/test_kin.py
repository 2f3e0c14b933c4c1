"""AdaBelief, ACProp, Yogi, Adan, RAdam, LaProp, StableAdamW, NovoGrad, AdamaxW, Signum and Tiger."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from gradtx.values.value import text_of
from tests.optimizers.test_reference import GRADS, WEIGHTS, assert_equal, outputs
from tests.printed import fed
from tests.reference import kin
from tests.refusals import refused

pytestmark = pytest.mark.slow  # formulas do not turn on versions

MATRICES = gx.by_ndim(at_least=2)

BLOCKS = [
    (gx.scale_by_belief(), lambda g, w: kin.belief(g)),
    (gx.scale_by_acprop(), lambda g, w: kin.acprop(g)),
    (gx.scale_by_belief(0.8, 0.9, 1e-3, 1e-4), lambda g, w: kin.belief(g, 0.8, 0.9, 1e-3, 1e-4)),
    (
        gx.scale_by_belief(eps=1e-3, eps_root=1e-4, nesterov=True),
        lambda g, w: kin.belief(g, eps=1e-3, eps_root=1e-4, nesterov=True),
    ),
    (gx.scale_by_acprop(0.8, 0.9, 1e-3, eps_root=1e-4), lambda g, w: kin.acprop(g, 0.8, 0.9, 1e-3, 1e-4)),
    (gx.scale_by_yogi(), lambda g, w: kin.yogi(g)),
    (gx.scale_by_yogi(0.8, 0.9, 1e-2, eps_root=1e-3, initial=0.1), lambda g, w: kin.yogi(g, 0.8, 0.9, 1e-2, 1e-3, 0.1)),
    (gx.scale_by_adan(), lambda g, w: kin.adan(g)),
    (gx.scale_by_adan(0.8, 0.7, 0.9, 1e-3), lambda g, w: kin.adan(g, 0.8, 0.7, 0.9, 1e-3)),
    (gx.scale_by_radam(), lambda g, w: kin.radam(g)),
    (gx.scale_by_radam(0.8, 0.95, 1e-3, 9, eps_root=1e-3), lambda g, w: kin.radam(g, 0.8, 0.95, 1e-3, 9, 1e-3)),
    (gx.scale_by_radam(eps=1e-3, eps_hat=True), lambda g, w: kin.radam(g, eps=1e-3, eps_hat=True)),
    (gx.scale_by_radam(b2=0.5, threshold=4), lambda g, w: kin.radam(g, b2=0.5, threshold=4)),  # never rectified
    (gx.scale_by_laprop(), lambda g, w: kin.laprop(g)),
    (gx.scale_by_laprop(0.8, 0.9, 1e-3), lambda g, w: kin.laprop(g, 0.8, 0.9, 1e-3)),
    (gx.scale_by_stable_adamw(), kin.stable_adamw),
    (
        gx.scale_by_stable_adamw(0.8, 0.9, 1e-3, weight_decay=0.1),
        lambda g, w: kin.stable_adamw(g, w, 0.8, 0.9, 1e-3, 0.1),
    ),
    (gx.scale_by_novograd(weight_decay=0.1), lambda g, w: kin.novograd(g, w, weight_decay=0.1)),
    (
        gx.scale_by_novograd(0.8, 0.9, 1e-2, eps_root=1e-3, weight_decay=0.1),
        lambda g, w: kin.novograd(g, w, 0.8, 0.9, 1e-2, 1e-3, 0.1),
    ),
    (gx.shrink_parameters(0.3, 0.5), lambda g, w: kin.shrink(g, w, 0.15)),
]


@pytest.mark.parametrize(("tx", "formula"), BLOCKS, ids=[text_of(tx) for tx, _ in BLOCKS])
def test_a_block(tx, formula):
    assert_equal(outputs(tx, jax.jit), lambda name: formula(GRADS[name], WEIGHTS[name]))


PRINTED = [
    (gx.adabelief(0.1), (5.1283683993, 5.3907948687)),
    (gx.adabelief(0.1, nesterov=True), (4.5110012477, 5.1724293432)),
    (gx.acprop(0.1), (2.6895094766, 4.8442270811)),
    (gx.yogi(0.1), (5.4692336588, 5.4545053262)),
    (gx.adan(0.1), (6.0785324304, 5.5819637068)),
    (gx.adan(0.1, weight_decay=0.1), (5.8842757577, 5.4138643951)),
    (gx.adan(0.1, weight_decay=0.1, proximal=False), (5.8658138043, 5.4080631749)),
    (gx.adamaxw(0.1, eps=0.0, eps_max=1e-8, weight_decay=0.1), (5.7142252435, 5.3752559672)),
    (gx.novograd(0.1), (5.6189288424, 5.2784160073)),
    (gx.novograd(0.1, weight_decay=0.1), (5.2053775080, 4.9507675117)),
    (gx.radam(0.1), (7.0993309380, 5.8382948145)),
    (gx.signum(0.1), (4.45, 5.0)),
    (gx.stable_adamw(0.1, weight_decay=0.0), (5.5200014706, 5.4632450326)),
    (gx.stable_adamw(0.1, weight_decay=0.1), (5.3186664190, 5.2928669565)),
]


@pytest.mark.parametrize(("tx", "expected"), PRINTED, ids=[text_of(tx) for tx, _ in PRINTED])
def test_what_peers_printed(tx, expected):
    np.testing.assert_allclose(fed(tx), expected, rtol=2e-11)  # the digits printed


def test_what_radams_printed():
    """Of eight steps the last three are rectified, and tell torch's epsilon from Optax's."""
    np.testing.assert_allclose(fed(gx.radam(0.1, eps_hat=True), 8), (6.5730371051, 5.6915725648), rtol=2e-11)
    np.testing.assert_allclose(fed(gx.radam(0.1), 8), (6.5730370726, 5.6915725542), rtol=2e-11)


def test_what_laprop_printed():
    # The peer's own rounding is in its ninth digit: the formula in NumPy gives 5.4763305461 and 5.4265719076.
    np.testing.assert_allclose(fed(gx.laprop(0.1)), (5.4763305313, 5.4265719007), rtol=4e-9)
    np.testing.assert_allclose(fed(gx.laprop(0.1)), (5.4763305461, 5.4265719076), rtol=2e-11)


def test_tiger_is_lion_of_one_average():
    expected = fed(gx.lion(0.1, 0.8, 0.8, 0.1))
    np.testing.assert_allclose(fed(gx.tiger(0.1, 0.8, 0.1)), expected, rtol=1e-14)
    assert fed(gx.signum(0.1, 0.8)) == fed(gx.tiger(0.1, 0.8, 0.0)) != expected


def test_laprop_without_momentum_is_rmsprop():
    ours, theirs = fed(gx.laprop(0.1, b1=0.0, eps=1e-8)), fed(gx.rmsprop(0.1, 0.999, debias=True))
    np.testing.assert_allclose(ours, theirs, rtol=1e-14)


def test_where_nothing_surprises_stable_adamw_is_adamw():
    w = jnp.linspace(-2.0, 3.0, 6)
    stable = gx.stable_adamw(0.1, eps=1e-8, weight_decay=0.1)
    adamw = gx.adamw(0.1, b2=0.99, weight_decay=0.1)
    start, later = stable.init(w), adamw.init(w)
    for size in (3.0, 2.0, 1.0):  # gradients that shrink: each is less than their average
        g = size * jnp.cos(w)
        ours, start = stable.update(g, start, w)
        theirs, later = adamw.update(g, later, w)
        np.testing.assert_allclose(ours, theirs, rtol=1e-14)
    ours, _ = stable.update(10.0 * jnp.cos(w), start, w)
    theirs, _ = adamw.update(10.0 * jnp.cos(w), later, w)
    ratio = np.asarray(ours / theirs)  # the decay shrinks with the rest
    spread = 0.01 * (9 * 0.99**3 + 4 * 0.99**2 + 0.99 + 100) / (1 - 0.99**4)
    np.testing.assert_allclose(ratio, np.sqrt(spread) / 10, rtol=1e-7)


def test_mask_of_a_decay_inside():
    """The arrays that don't decay have the rule without decay, its state too, in one pass of one rule."""
    for make in (gx.novograd, gx.stable_adamw, gx.adan):
        some, without = make(0.1, weight_decay=0.5, mask=MATRICES), make(0.1, weight_decay=0.0)
        decayed = make(0.1, weight_decay=0.5)
        params = {"w": jnp.ones((2, 3)), "b": jnp.arange(3.0), "none": None}
        grads = jax.tree.map(jnp.cos, params)
        runs = {}
        for name, tx in dict(some=some, without=without, decayed=decayed).items():
            w, state = params, tx.init(params)
            for _ in range(3):
                updates, state = jax.jit(tx.update)(grads, state, w)
                w = gx.apply_updates(w, updates)
            runs[name] = w, state
        assert jax.tree.structure(runs["some"][1]) == jax.tree.structure(some.init(params))
        assert [int(x) for x in jax.tree.leaves(runs["some"][1]) if x.dtype == jnp.int32] == [3] * len(
            [x for x in jax.tree.leaves(some.init(params)) if x.dtype == jnp.int32]
        )
        for name, other in dict(w="decayed", b="without").items():
            np.testing.assert_array_equal(runs["some"][0][name], runs[other][0][name])
            for field in {"mu", "nu"} & set(runs["some"][1][0]._fields):
                ours, theirs = (getattr(runs[x][1][0], field)[name] for x in ("some", other))
                np.testing.assert_array_equal(ours, theirs)
        assert not np.allclose(runs["without"][0]["w"], runs["decayed"][0]["w"])
        text = str(gx.explain(some, params))
        assert "not decayed" in text
        with refused(ValueError, "matches no array of b; where that may be so, write maybe(…) around it"):
            some.init({"b": jnp.ones(2)})


def test_novograd_keeps_one_number_for_each_array():
    state = gx.scale_by_novograd().init({"w": jnp.ones((20, 30)), "b": jnp.ones(3, jnp.bfloat16)})
    assert {name: (x.shape, x.dtype) for name, x in state.nu.items()} == {
        "w": ((), jnp.float64),
        "b": ((), jnp.float32),
    }


def test_proximal_decay_turns_no_sign():
    w = jnp.array([2.0, -2.0])
    tx = gx.chain(gx.sgd(0.1), gx.shrink_parameters(1e6, 0.1))
    after = gx.apply_updates(w, tx.update(jnp.zeros(2), tx.init(w), w)[0])
    np.testing.assert_allclose(after, w / (1.0 + 1e5), rtol=1e-10)


def test_adans_decay_goes_with_its_rate():
    """A schedule reaches the decay at the same count, and so does a rate that is set in the state."""
    rates = (0.1, 0.05)
    tx = gx.adan(gx.piecewise_constant((1,), rates), weight_decay=0.5)
    plain = gx.scale_by_adan()
    w, state, inner = jnp.array([2.0, -1.0]), tx.init(jnp.zeros(2)), plain.init(jnp.zeros(2))
    for rate in rates:
        g = jnp.sin(w)
        updates, state = tx.update(g, state, w)
        u, inner = plain.update(g, inner)
        expected = (w - rate * u) / (1.0 + 0.5 * rate)
        w = gx.apply_updates(w, updates)
        np.testing.assert_allclose(w, expected, rtol=1e-14)
    held = gx.adan(gx.controlled(0.1), weight_decay=0.5)
    state = gx.set_hyperparameters(held, held.init(w), learning_rate=0.3)
    fixed = gx.adan(0.3, weight_decay=0.5)
    ours, theirs = held.update(w, state, w)[0], fixed.update(w, fixed.init(w), w)[0]
    np.testing.assert_array_equal(ours, theirs)


def test_optax_weighs_differences_by_the_rest():
    """`docs/conventions.md` says so: where the authors have b2, it has 1 - b2."""
    theirs = fed(optax.adan(0.1, eps_root=0.0))
    np.testing.assert_allclose(theirs, (5.4901791709, 5.4742298187), rtol=1e-6)
    assert np.abs(np.subtract(theirs, fed(gx.adan(0.1)))).min() > 0.1


def test_radam_takes_its_numbers_as_arrays():
    """That of no law's three steps is rectified: seven steps with the numbers traced, and one scheduled."""

    def path(b2, eps, threshold):
        tx, w = gx.radam(0.1, 0.9, b2, eps, threshold), jnp.array([1.0, -2.0, 3.0])
        state = tx.init(w)
        for _ in range(7):
            updates, state = tx.update(jnp.sin(w), state, w)
            w = gx.apply_updates(w, updates)
        return w

    numbers = [(0.999, 1e-8, 5.0), (0.99, 1e-2, 4.5), (0.3, 1e-2, 4.0)]
    swept = jax.jit(jax.vmap(path))(*map(jnp.array, zip(*numbers, strict=True)))
    for row, own in zip(swept, numbers, strict=True):
        np.testing.assert_allclose(row, path(*own), rtol=1e-12)
    np.testing.assert_allclose(swept[0], path(gx.constant(0.999), 1e-8, gx.constant(5.0)), rtol=1e-12)
    assert len({tuple(np.round(row, 6)) for row in np.asarray(swept)}) == 3
    gradient = jax.jit(jax.grad(lambda eps: jnp.sum(path(0.3, eps, 4.0)) + jnp.sum(path(0.999, eps, 5.0))))(1e-3)
    assert np.isfinite(gradient)
    assert gradient != 0.0


def test_beliefs_stay_finite_at_rest_in_float32(float32):
    for tx in (gx.scale_by_belief(), gx.scale_by_acprop(), gx.scale_by_laprop(), gx.scale_by_radam()):
        g = jnp.ones(3)
        state, update = tx.init(g), jax.jit(tx.update)
        for x in (g, g, 0.0 * g, 0.0 * g):
            u, state = update(x, state)
            assert np.isfinite(u).all()
        slope = jax.grad(lambda x, tx=tx, state=state: jnp.sum(tx.update(x, state)[0]))(0.0 * g)
        assert np.isfinite(slope).all()


@pytest.mark.parametrize("make", [gx.scale_by_radam, lambda **own: gx.radam(0.1, **own)])
def test_below_four_gradients_there_is_no_variance(make):
    with refused(ValueError, "threshold must be in [4, inf), got 3"):
        make(threshold=3)


@pytest.mark.parametrize("tx", [gx.novograd(0.1), gx.stable_adamw(0.1), gx.adan(0.1), gx.shrink_parameters(0.1)])
def test_what_needs_the_parameters(tx):
    with refused(ValueError, "update needs the parameters"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))
