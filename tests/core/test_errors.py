"""Bad input, and the short error that it gets."""

from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from gradtx.core.transformation import takes
from gradtx.values.annotations import Check
from tests.catalogue import TRANSFORMATIONS
from tests.refusals import refused
from tests.trees import signature, tree

PARAMS = {"layer1": {"w": jnp.ones((3, 4)), "b": jnp.ones(4)}, "layer2": [jnp.ones(2)]}
ADAMW = gx.adamw(0.1)


anything: Any = gx  # for calls that a type checker refuses too


# ---- hyperparameters ----

BAD = [np.nan, np.inf, -1.0, 2.0**40, True, "0.1", None, 1j, [0.1], np.ones(3), jnp.ones((1, 1)), jnp.array(True)]


def allowed(bad, limits, optional):
    if bad is None:
        return optional
    return isinstance(bad, float) and bad in limits


@pytest.mark.parametrize("member", TRANSFORMATIONS, ids=lambda m: repr(m.tx))
def test_every_hyperparameter_of_every_member_is_checked(member):
    tx = member.tx
    for name, limits in tx.recipe.ranges.items():
        parameter = tx.recipe.signature.parameters[name]
        optional = parameter.default is None
        takes_trees = any(isinstance(x, Check) for x in get_args(parameter.annotation))  # of arrays, too
        for bad in BAD:
            if allowed(bad, limits, optional) or (takes_trees and np.ndim(bad)):
                continue
            number = isinstance(bad, float) or np.ndim(bad)
            with pytest.raises((ValueError, TypeError), match=f"^{tx.recipe.__name__}: {name} must be ") as caught:
                tx.replace(**{name: bad})
            assert caught.type is (ValueError if number and not isinstance(bad, list) else TypeError)
            assert len(str(caught.value)) < 200
            assert "Traced" not in str(caught.value)
        for traced in (jnp.float32(2.0**40), 0.5):  # a traced number has no value to look at
            jax.eval_shape(lambda x, name=name: tx.replace(**{name: x}).arguments[name], traced)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: gx.scale_by_adam(b1=1.5), ValueError, "scale_by_adam: b1 must be in [0, 1), got 1.5"),
        (lambda: gx.adam(-1), ValueError, "adam: learning_rate must be in [0, inf), got -1"),
        (lambda: gx.scale(float("nan")), ValueError, "scale: factor must be finite, got nan"),
        (lambda: gx.scale(10**400), ValueError, "scale: factor must be finite, got inf"),
        (
            lambda: gx.adam(jnp.ones(3)),
            ValueError,
            "got an array of shape (3,); to run many values at once, use jax.vmap",
        ),
        (lambda: anything.rmsprop(1e-3, centered=1), TypeError, "rmsprop: centered must be True or False, got int 1"),
        (
            lambda: anything.adam(),
            TypeError,
            "adam: missing a required argument: 'learning_rate'; it takes learning_rate, b1",
        ),
        (lambda: anything.adam(lr=1e-3), TypeError, "adam: unknown argument 'lr'; it takes learning_rate, b1, b2, eps"),
        (lambda: anything.adamw(1e-3, weightdecay=0.1), TypeError, "mask, eps_root: did you mean weight_decay?"),
        (lambda: gx.adam(1e-3).replace(lr=1e-3), TypeError, "adam.replace: it has no 'lr'; it has learning_rate, b1"),
        (
            lambda: anything.chain(gx.adam),
            TypeError,
            "chain: parts[0] must be a transformation, got a function; call it: adam(",
        ),
        (lambda: anything.chain(gx.adam(0.1), 3), TypeError, "chain: parts[1] must be a transformation, got int 3"),
        (lambda: gx.adam(0.1) + gx.adam(0.1), TypeError, "adam: transformations have no + and *; join them with"),
        (lambda: 2 * gx.adam(0.1), TypeError, "adam: transformations have no + and *"),
        (
            lambda: gx.sgd(0.1, nesterov=True),
            ValueError,
            "sgd: nesterov and dampening need momentum, got momentum=None",
        ),
        (lambda: gx.sgd(0.1, dampening=0.5), ValueError, "sgd: nesterov and dampening need momentum"),
        (lambda: gx.sgd(0.1, dampening=jnp.array(0.5)), ValueError, "sgd: nesterov and dampening need momentum"),
        (lambda: gx.sgd(0.1, dampening=gx.constant(0.5)), ValueError, "sgd: nesterov and dampening need momentum"),
        (
            lambda: gx.cosine(gx.constant(1.0), 5),
            TypeError,
            "cosine: start must be a number or a scalar array, got",
        ),
        (
            lambda: gx.constant(1.0).then(2.0, at=np.int64(9)).then(3.0, at=5),
            ValueError,
            "must not be earlier than",
        ),
        (
            lambda: gx.adam(lambda t: "x"),  # pyright: ignore[reportArgumentType]  # refused by a type checker too
            TypeError,
            "adam: the schedule given for learning_rate must return",
        ),
        (
            lambda: gx.constant(1.0) + None,  # pyright: ignore[reportOperatorIssue]  # refused by a type checker too
            TypeError,
            "(a + b): b must be a number, a scalar array or a schedule",
        ),
        (lambda: gx.rmsprop(0.1, nesterov=True), ValueError, "rmsprop: nesterov needs momentum, got momentum=None"),
        (
            lambda: gx.sgd(lambda t: jnp.ones(3)),
            ValueError,
            "sgd: the schedule given for learning_rate must return a real",
        ),
        (
            lambda: gx.sgd(lambda t: (t, t)),  # pyright: ignore[reportArgumentType]  # refused by a type checker too
            TypeError,
            "sgd: the schedule given for learning_rate must return a real scalar",
        ),
        (
            lambda: gx.scale(lambda t: 1j * t),
            ValueError,
            "scale: the schedule given for factor must return a real scalar",
        ),
        (lambda: gx.sgd(lambda t: 1.0 if t > 3 else 2.0), TypeError, "must be traceable: choose with jnp.where"),
    ],
)
def test_construction(build, error, message):
    with refused(error, message):
        build()


def test_an_ambiguous_name_lists_its_places():
    tx = gx.chain(gx.ema(0.9), gx.bias_correction(0.9))
    with refused(TypeError, "chain.replace: it has several 'decay': parts[0].decay, parts[1].decay"):
        tx.replace(decay=0.5)
    assert tx.replace(**{"parts[0].decay": 0.5}) == gx.chain(gx.ema(0.5), gx.bias_correction(0.9))


def test_a_value_is_not_changed_in_place():
    with refused(AttributeError, "adam can't be changed; use .replace(b1=...) to get another one"):
        gx.adam(0.1).b1 = 0.5
    with refused(AttributeError, "Transformation has no attribute 'momentum'; its arguments are ['learning_rate'"):
        _ = gx.adam(0.1).momentum


# ---- trees ----


def changed(path, leaf):
    params = jax.tree.map(lambda x: x, PARAMS)
    *above, last = path
    inside = params
    for key in above:
        inside = inside[key]
    inside[last] = leaf
    return params


STATE = ADAMW.init(PARAMS)
LACKING = {"layer1": {"w": PARAMS["layer1"]["w"]}, "layer2": PARAMS["layer2"]}


@pytest.mark.parametrize("update", [ADAMW.update, jax.jit(ADAMW.update)], ids=["eager", "jitted"])
@pytest.mark.parametrize(
    ("updates", "state", "params", "error", "message"),
    [
        (changed(["layer1", "w"], jnp.ones((1, 4))), STATE, PARAMS, ValueError,
         "adamw: updates['layer1']['w'] has shape (1, 4), its parameter has (3, 4)"),
        (changed(["layer1", "w"], jnp.ones((3, 4), jnp.complex64)), STATE, PARAMS, TypeError,
         "adamw: updates['layer1']['w'] is complex64, its parameter is float64: both must be real or both complex"),
        (LACKING, STATE, PARAMS, ValueError, "adamw: updates lack ['layer1']['b'], which is in params"),
        (PARAMS, STATE, LACKING, ValueError, "adamw: updates['layer1']['b'] has no counterpart in params"),
        (changed(["layer2"], (jnp.ones(2),)), STATE, PARAMS, ValueError,
         "adamw: updates['layer2'] is of type tuple, in params it is list"),
        (changed(["layer2"], jnp.ones(2)), STATE, PARAMS, ValueError,
         "adamw: updates['layer2'] is an array, in params it is of type list"),
        ([PARAMS], STATE, PARAMS, ValueError, "adamw: the tree of updates is of type list, in params it is dict"),
        (PARAMS, STATE, changed(["layer2", 0], None), ValueError,
         "adamw: updates['layer2'][0] has no counterpart in params, which hold None there"),
        (changed(["layer2", 0], jnp.ones(2, int)), STATE, PARAMS, TypeError,
         "adamw: updates['layer2'][0] must be floating-point or complex, got int64; to freeze it, put None"),
        (PARAMS, STATE, None, ValueError, "add_decayed_weights: update needs the parameters: call update(updates"),
        (PARAMS, gx.sgd(0.1).init(PARAMS), PARAMS, ValueError, "the state must be a tuple of 3, got 2 states: it"),
        (PARAMS, gx.chain(gx.ema(0.9), gx.identity(), gx.identity()).init(PARAMS), PARAMS, TypeError,
         "scale_by_adam: the state is an EmaState, expected ScaleByAdamState: it was made by another optimizer"),
        (PARAMS, (STATE[0], STATE[1], STATE[1]), PARAMS, TypeError,
         "scale_by_learning_rate: the state is an EmptyState, expected ScaleByLearningRateState: it was made"),
        (PARAMS, ADAMW.init(LACKING), PARAMS, ValueError,
         "scale_by_adam: updates['layer1']['b'] has no counterpart in the state's mu"),
        (PARAMS, ADAMW.init(changed(["layer2", 0], jnp.ones(3))), PARAMS, ValueError,
         "scale_by_adam: updates['layer2'][0] does not fit the state, whose mu has shape (3,), expected (2,) there"),
        (PARAMS, ADAMW.init(changed(["layer2", 0], None)), PARAMS, ValueError,
         "scale_by_adam: updates['layer2'][0] does not fit the state, whose mu has None there"),
    ],
)  # fmt: skip
def test_trees_that_do_not_fit(update, updates, state, params, error, message):
    before = signature(state)
    with refused(error, message) as caught:
        update(updates, state, params)
    assert "PyTreeDef" not in str(caught.value)
    assert "Tracer" not in str(caught.value)
    assert signature(state) == before
    good, _ = ADAMW.update(PARAMS, STATE, PARAMS)  # nothing is lost: the state handed in is still good
    assert jax.tree.structure(good) == jax.tree.structure(PARAMS)


@pytest.mark.parametrize("member", [m for m in TRANSFORMATIONS if not m.selects], ids=lambda m: repr(m.tx))
def test_an_integer_is_refused_with_a_remedy(member):
    params = {"w": jnp.ones(2), "step": jnp.zeros([], jnp.int32)}
    with refused(TypeError, "updates['step'] must be floating-point or complex, got int32; to freeze it"):
        member.update(params, member.tx.init({"w": params["w"], "step": None}), params if member.needs_params else None)


def test_leaves_that_are_no_arrays():
    params = {"w": jnp.ones(2), "activation": jnp.tanh}
    with refused(TypeError, "adamw: updates['activation'] must be an array, got PjitFunction; to freeze it, put None"):
        ADAMW.update(params, STATE, None)


def test_apply_updates_refuses_what_does_not_fit():
    with refused(ValueError, "apply_updates: updates['w'] has shape (2,), its parameter has (3,)"):
        gx.apply_updates({"w": jnp.ones(3)}, {"w": jnp.ones(2)})
    with refused(TypeError, "apply_updates: params['w'] must be floating-point or complex, got int64; to freeze it"):
        gx.apply_updates({"w": jnp.ones(3, int)}, {"w": jnp.ones(3)})


# ---- extra arguments and notes ----


@gx.transformation
def scale_by_loss():
    def update(updates, state, params=None, *, loss):
        return jax.tree.map(lambda u: u * loss, updates), state

    return lambda params: (), update


def test_extra_arguments():
    g = tree()
    ADAMW.update(PARAMS, STATE, PARAMS, foo=1.0, obj_fn=len)  # for somebody else
    ADAMW.update(PARAMS, STATE, PARAMS, value=1.0, grad=PARAMS, value_fn=len, loss_fn=len)
    tx = gx.chain(gx.sgd(1.0), gx.chain(scale_by_loss(), gx.scale(2.0)), optax.scale(1.0))
    got, _ = tx.update(g, tx.init(g), g, loss=3.0)
    jax.tree.map(lambda u, x: np.testing.assert_allclose(u, -6.0 * x, rtol=1e-6), got, g)
    tx.update(g, tx.init(g), g, loss=3.0, lost=1.0)  # it has its loss
    anything = gx.chain(gx.sgd(1.0), optax.scale_by_backtracking_linesearch(3))  # Optax does not say what it takes
    assert takes(anything) is None


@pytest.mark.parametrize("name", ["vlaue", "values", "val", "Value", "valeu"])
def test_a_misspelled_name_is_found(name):
    """Whatever else is given, and wherever the part stands: what it was meant for would go on without it."""
    plateau = gx.reduce_on_plateau()
    needs_value = gx.skip_spikes(gx.sgd(0.1), loss=True)
    for tx in (needs_value, gx.chain(gx.adam(0.1), needs_value), optax.chain(optax.sgd(0.1), needs_value)):
        state = tx.init(PARAMS)
        with refused(TypeError, f"update got {name}, but takes value: did you mean value?"):
            tx.update(PARAMS, state, PARAMS, **{name: 1.0, "batch": 3})
        tx.update(PARAMS, state, PARAMS, **{name: 1.0, "value": 1.0})
    with refused(TypeError, f"chain: update got {name}, but takes value: did you mean value?"):
        tx = gx.chain(gx.adam(0.1), plateau)
        tx.update(PARAMS, tx.init(PARAMS), PARAMS, **{name: 1.0})


@pytest.mark.parametrize("name", ["loss", "obj_fn", "labels", "key", "step", "value_fn", "batch_stats"])
def test_a_name_for_somebody_else_is_ignored(name):
    """Inside of Optax's chain every part gets every argument."""
    tx = optax.chain(gx.clip_by_global_norm(1.0), gx.early_stopping(3), optax.adam(0.1))
    plain, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS, value=1.0)
    for step in (tx.update, jax.jit(tx.update)):
        updates, _ = step(PARAMS, tx.init(PARAMS), PARAMS, value=1.0, **{name: jnp.ones(3)})
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), updates, plain)


def test_an_error_inside_a_chain_names_the_part_with_its_numbers():
    tx = gx.chain(gx.clip_by_norm(1.0), gx.adamw(0.1, weight_decay=0.2))
    with pytest.raises(ValueError, match="add_decayed_weights: update needs the parameters") as caught:
        tx.update(PARAMS, tx.init(PARAMS))
    assert caught.value.__notes__[-2:] == [
        "in part 1 of a chain, add_decayed_weights(weight_decay=0.2)",
        "in part 1 of a chain, adamw(learning_rate=0.1, weight_decay=0.2)",
    ]
