"""States of Optax that do not go on here, and states that Optax has no form for."""

import jax
import jax.numpy as jnp
import optax
import pytest

import gradtx as gx
from tests.checkpoints.optax_rows import FALLING, PARAMS, restored
from tests.refusals import refused


def state_of(tx):
    return tx.init(PARAMS)


LABELS_OF_TWO = {"body": {"w": "x", "b": "y"}, "head": "x"}
ORDER = "give the transformation whose parts stand in this order"


@pytest.mark.parametrize(
    ("ours", "state", "message"),
    [
        (
            gx.adam(0.1),
            state_of(optax.chain(optax.trace(0.9), optax.adam(0.1))),
            (
                f"the state has the parts TraceState, ScaleByAdamState, EmptyState, expected scale_by_adam "
                f"(ScaleByAdamState), scale_by_learning_rate; {ORDER}"
            ),
        ),
        (
            gx.adamw(0.1),
            restored(state_of(optax.adam(0.1))),
            (
                "the state has the parts {count, mu, nu}, None, expected scale_by_adam (ScaleByAdamState), "
                f"add_decayed_weights, scale_by_learning_rate; {ORDER}"
            ),
        ),
        (
            gx.adam(0.1),
            state_of(optax.adabelief(0.1)),
            "the state has the parts ScaleByBeliefState, EmptyState, expected scale_by_adam (ScaleByAdamState), ",
        ),
        (  # the velocity holds the rate there
            gx.rmsprop(0.1, momentum=0.9),
            state_of(optax.rmsprop(0.1, momentum=0.9)),
            (
                "the state has the parts ScaleByRmsState, EmptyState, TraceState, expected scale_by_rms "
                f"(ScaleByRmsState), scale_by_momentum (TraceState), scale_by_learning_rate; {ORDER}"
            ),
        ),
        (
            gx.adam(0.1),
            (),
            "the state has the parts none, expected scale_by_adam (ScaleByAdamState), scale_by_learning",
        ),
        (gx.adam(0.1), PARAMS, "the state has the parts {body, head}, expected scale_by_adam (ScaleByAdamState), "),
        (
            gx.amsgrad(0.1),
            state_of(optax.amsgrad(0.1)),
            (
                "scale_by_amsgrad's nu_max is the largest nu, in Optax it is the largest nu/(1 - b2**t); take "
                "debias_first=True, which is Optax's rule"
            ),
        ),
        (
            gx.nadam(0.1, momentum_decay=4e-3),
            state_of(optax.nadam(0.1)),
            (
                "scale_by_nadam's momentum_decay makes b1 rise, and the product of all momenta is in no state of "
                "Optax's; take momentum_decay=None, which is Optax's rule"
            ),
        ),
        (
            gx.every(gx.clip_by_norm(1.0), 2),
            state_of(optax.clip(1.0)),
            "every has no known counterpart in Optax; leave it out, and start it anew with init",
        ),
        (
            gx.partition((gx.by_path("b$"), gx.adam(0.1)), default=gx.adam(0.1)),
            optax.partition({"x": optax.adam(0.1)}, jax.tree.map(lambda _: "x", PARAMS)).init(PARAMS),
            "none of the groups 'x' has the parts and the arrays of rules[0][1], adam(learning_rate=0.1)",
        ),
        (
            gx.partition((gx.by_path("b$"), gx.sgd(0.1)), default=gx.nadam(0.1, momentum_decay=4e-3)),
            optax.partition({"x": optax.nadam(0.1)}, jax.tree.map(lambda _: "x", PARAMS)).init(PARAMS),
            "scale_by_nadam's momentum_decay makes b1 rise, and the product of all momenta is in no state of",
        ),
        (
            gx.only(gx.sgd(0.1), gx.by_path("b$")),
            optax.partition({"x": optax.adam(0.1), "y": optax.sgd(0.1)}, LABELS_OF_TWO).init(PARAMS),
            "the state has the groups 'x' beside those of only; give a transformation with as many",
        ),
        (
            gx.chain(optax.inject_hyperparams(optax.adam)(0.1), gx.scale(0.5)),
            state_of(optax.chain(optax.inject_hyperparams(optax.adam)(0.1), optax.scale(0.5))),
            "a part of the transformation is Optax's inject_hyperparams; give gradtx's own optimizer, with numbers",
        ),
        (
            gx.sgd(FALLING, 0.9),
            state_of(optax.sgd(0.1, 0.9)),
            (
                "the state counts no updates, and scale_by_learning_rate needs that number; start it anew with init, "
                "or give a constant in the place of a schedule"
            ),
        ),
    ],
)
def test_other_parts_are_refused(ours, state, message):
    with refused(ValueError, f"from_optax: {message}"):
        gx.from_optax(ours, PARAMS, state)


def test_other_arrays_are_listed():
    state = optax.adam(0.1).init({"body": {"w": jnp.zeros((3, 2))}, "tail": jnp.zeros(2)})
    message = (
        "from_optax: scale_by_adam's mu does not fit: it lacks body/b, head; it has tail beside these; "
        "body/w is float64[3, 2], expected float64[2, 3]; give the parameters that it was made for, in these dtypes"
    )
    with refused(ValueError, message):
        gx.from_optax(gx.adam(0.1), PARAMS, state)


def test_an_open_window_without_the_mean_of_its_values_is_refused():
    theirs = optax.MultiSteps(optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(0.5)), 3)
    ours = gx.accumulate(gx.chain(gx.sgd(0.1), gx.reduce_on_plateau(0.5)), 3)
    state = theirs.init(PARAMS)
    assert gx.from_optax(ours, PARAMS, state).mini_step == 0
    message = "from_optax: a window is open, and Optax keeps no mean of value; take the state at the end of a window"
    with refused(ValueError, message):
        gx.from_optax(ours, PARAMS, state._replace(mini_step=jnp.asarray(1, jnp.int32)))


def test_no_transformation_of_gradtx_is_refused():
    for function in (lambda tx: gx.from_optax(tx, PARAMS, ()), lambda tx: gx.to_optax(tx, ())):
        with refused(TypeError, "optax: it must be a transformation of gradtx, got GradientTransformationExtraArgs"):
            function(optax.adam(0.1))


def test_numbers_that_optax_holds_elsewhere_need_a_form():
    remedy = "hand in a state of the counterpart, like=inject_hyperparams(…)(…).init(params)"
    for tx, name in (
        (gx.adam(gx.controlled(0.1)), "scale_by_learning_rate has its learning_rate"),
        (gx.adam(0.1, b1=gx.linear(0.5, 0.9, 3)), "scale_by_adam has its b1"),
        (gx.chain(gx.clip_by_norm(gx.linear(1.0, 0.5, 3)), gx.sgd(0.1)), "clip_by_norm has its max_norm"),
    ):
        message = f"to_optax: {name} in the state, which Optax has in that of an inject_hyperparams; {remedy}"
        with refused(ValueError, message):
            gx.to_optax(tx, tx.init(PARAMS))


def test_a_state_of_another_optimizer_is_refused():
    with refused(ValueError, "to_optax: the state has no 1 in its tuple; it was made by another optimizer"):
        gx.to_optax(gx.adam(0.1), gx.sgd(0.1).init(PARAMS)[:1])


def test_a_state_with_another_part_in_a_place_is_refused():
    made = "it was made by another optimizer"
    cases = [
        (gx.adam(0.1), gx.sgd(0.1), "an array in the place of scale_by_adam's ScaleByAdamState"),
        (gx.adam(0.1), gx.sgd(0.1, 0.9), "ScaleByMomentumState in the place of scale_by_adam's ScaleByAdamState"),
        (gx.adam(0.1, b1=FALLING), gx.adam(0.1), "ScaleByAdamState in the place of scale_by_adam's ScheduledState"),
        (
            gx.accumulate(gx.adam(0.1), 2),
            gx.accumulate(gx.sgd(0.1, 0.9), 2),
            "ScaleByMomentumState in the place of scale_by_adam's ScaleByAdamState",
        ),
    ]
    for tx, other, message in cases:
        with refused(ValueError, f"to_optax: the state has {message}; {made}"):
            gx.to_optax(tx, other.init(PARAMS))
    tx = gx.only(gx.adam(0.1), lambda path, x: x.shape[1] > 2 if x.ndim > 1 else False)  # no such array in a trial
    gx.to_optax(tx, tx.init(PARAMS))


def test_moments_of_flattened_parameters_are_named():
    message = (
        "scale_by_adam's mu does not fit: it lacks body/b, body/w, head; it has an array without a path beside these"
    )
    with refused(ValueError, f"from_optax: {message}"):
        gx.from_optax(gx.adam(0.1), PARAMS, optax.flatten(optax.adam(0.1)).init(PARAMS))


def test_parts_without_a_state_are_added_behind():
    tx, state = gx.chain(gx.clip_by_norm(1.0), gx.adam(0.1)), state_of(optax.adam(0.1))
    remedy = "where others keep nothing, take it over without them, and go on by to_flat and from_flat"
    with refused(
        ValueError,
        f"expected clip_by_norm, scale_by_adam (ScaleByAdamState), scale_by_learning_rate; {ORDER}; {remedy}",
    ):
        gx.from_optax(tx, PARAMS, state)
    taken = gx.from_optax(gx.adam(0.1), PARAMS, state)
    gx.from_flat(tx, PARAMS, gx.to_flat(gx.adam(0.1), taken))  # as it says
    with pytest.raises(ValueError, match=f"{ORDER}$"):
        gx.from_optax(gx.adam(0.1), PARAMS, state_of(optax.sgd(0.1, 0.9)))


def test_squares_of_complex_arrays_are_refused():
    w, theirs, ours = jnp.ones(2, complex), optax.rmsprop(0.1), gx.rmsprop(0.1)
    message = (
        "scale_by_rms's nu has the squares of both parts of a complex array, in Optax those of absolute values; start "
        "it anew with init"
    )
    with refused(ValueError, f"from_optax: {message}"):
        gx.from_optax(ours, w, theirs.init(w))
    with refused(ValueError, f"to_optax: {message}"):
        gx.to_optax(ours, ours.init(w), theirs.init(w))
    velocity = gx.from_optax(gx.sgd(0.1, 0.9), w, optax.sgd(0.1, 0.9).init(w))  # which is linear
    assert gx.find(velocity, "trace").dtype == w.dtype


AROUND = {
    "chain": optax.chain,
    "masked": lambda tx: optax.masked(tx, True),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 2).gradient_transformation(),
    "multi_transform": lambda tx: optax.multi_transform({"a": tx}, "a"),
}


@pytest.mark.parametrize("tx", [gx.scale_by_rms(), gx.scale_by_amsgrad(), gx.adam(0.1)], ids=repr)
@pytest.mark.parametrize("around", AROUND)
def test_what_stands_inside_of_optaxs_own_is_not_seen(around, tx):
    whole = gx.chain(AROUND[around](tx), gx.scale(0.5))
    with pytest.raises(ValueError, match=r"to_optax: .*State .*stands (inside|in a chain) of"):
        gx.to_optax(whole, whole.init(jnp.ones(2)))
