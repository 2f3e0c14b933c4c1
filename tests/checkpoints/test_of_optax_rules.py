"""Rules of the same name from whose states Optax would go on in another way, and forms that turn on a rule."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.checkpoints.optax_rows import FALLING, PARAMS
from tests.refusals import refused

PLACE = "in its place, which goes on as it is"
KEYS = "draws by its key and the count, Optax by the key in its state"
MATRIX = {"w": jnp.ones((3, 2))}
DIFFERENT = [
    (
        gx.adan(0.1),
        optax.adan(0.1),
        f"scale_by_adan's n has the squares of g + b2 * d, in Optax those of g + (1 - b2) * d; put optax.adan {PLACE}",
    ),
    (
        gx.rprop(0.1),
        optax.rprop(0.1),
        (
            "scale_by_rprop's prev_updates are gradients, in Optax the steps that the next update takes; put "
            f"optax.rprop {PLACE}"
        ),
    ),
    (
        gx.sophia(0.1),
        optax.contrib.sophia(0.1),
        f"scale_by_sophia's nu is renewed ahead of a step, in Optax behind it; put optax.contrib.sophia {PLACE}",
    ),
    (gx.noisy_sgd(0.1, key=0), optax.noisy_sgd(0.1, key=0), f"add_noise {KEYS}; put optax.add_noise {PLACE}"),
    (
        gx.dpsgd(0.1, 1.0, 0.5, key=0),
        optax.contrib.differentially_private_aggregate(1.0, 0.5, 0),
        f"private {KEYS}; put optax.contrib.differentially_private_aggregate {PLACE}",
    ),
    (
        gx.hutchinson(),
        optax.contrib.hutchinson_estimator_diag_hessian(),
        f"hutchinson {KEYS}; put optax.contrib.hutchinson_estimator_diag_hessian {PLACE}",
    ),
    (
        gx.muon(0.1),
        optax.contrib.muon(0.1),
        (
            "scale_by_muon: it turns the average as it is, Optax's one whose bias is corrected; put "
            f"optax.contrib.muon {PLACE}"
        ),
    ),
    (
        gx.galore(0.1, 1),
        optax.contrib.galore(0.1, 1),
        (f"galore: it projects the shorter side of a matrix, Optax's the longer one; put optax.contrib.galore {PLACE}"),
    ),
    (
        gx.in_subspace(gx.scale_by_adam(), 1),
        optax.contrib.galore(0.1, 1),
        (
            "in_subspace's projection is that of the shorter side of a matrix, in Optax of the longer one; take "
            "longer=True, which is Optax's rule"
        ),
    ),
    (
        gx.schedule_free_sgd(FALLING),
        optax.contrib.schedule_free_sgd(0.1),
        (
            "schedule_free has one rate for a step and its weight, in Optax that of the step is one update behind; "
            "give an optimizer with its own rate, schedule_free(chain(…, scale_by_learning_rate(rate)), later) with "
            "later = lambda t: rate(t + 1)"
        ),
    ),
]


@pytest.mark.parametrize(("ours", "theirs", "message"), DIFFERENT, ids=lambda x: x if isinstance(x, str) else "")
def test_another_rule_is_refused_both_ways(ours, theirs, message):
    params = MATRIX if "matrix" in message else PARAMS
    with refused(ValueError, f"from_optax: {message}"):
        gx.from_optax(ours, params, theirs.init(params))
    with refused(ValueError, f"to_optax: {message}"):
        gx.to_optax(ours, ours.init(params))


def test_optax_part_with_its_key_goes_on_as_it_is():
    theirs = optax.chain(optax.add_noise(0.1, 0.5, key=0), optax.sgd(FALLING))
    ours = gx.chain(optax.add_noise(0.1, 0.5, key=1), gx.sgd(FALLING))
    state = theirs.init(PARAMS)
    for _ in range(2):
        _, state = theirs.update(PARAMS, state, PARAMS)
    found, _ = ours.update(PARAMS, gx.from_optax(ours, PARAMS, state), PARAMS)
    expected, _ = theirs.update(PARAMS, state, PARAMS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found, expected)
    back = gx.to_optax(ours, gx.from_optax(ours, PARAMS, state), state)
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(data_of, back), jax.tree.map(data_of, state))


def data_of(x):
    return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x


def test_two_counts_of_ademamix_are_refused():
    fresh: Any = optax.contrib.scale_by_ademamix().init(PARAMS)
    state = fresh._replace(count_m2=jnp.asarray(3, jnp.int32))
    message = (
        "from_optax: the state has count 0 and count_m2 3, and scale_by_ademamix has one count for both averages; "
        "start it anew with init"
    )
    with refused(ValueError, message):
        gx.from_optax(gx.scale_by_ademamix(), PARAMS, state)


def test_a_decay_of_zero_has_no_place_in_optax():
    """Its `adopt` has none. A decay that is a schedule or masked is one more part."""
    theirs = optax.contrib.adopt(0.1).init(PARAMS)
    gx.from_optax(gx.adopt(0.1), PARAMS, theirs)
    for more in (
        gx.adopt(0.1, weight_decay=0.1),
        gx.adopt(0.1, weight_decay=gx.controlled(0.0)),
        gx.adopt(0.1, mask=gx.by_path("body")),
    ):
        with pytest.raises(ValueError, match=r"expected scale_by_adopt .*, add_decayed_weights, scale_by_learning_ra"):
            gx.from_optax(more, PARAMS, theirs)


def test_a_schedule_inside_of_what_keeps_no_state_is_found():
    b1 = gx.linear(0.5, 0.9, 30)
    theirs = optax.inject_hyperparams(optax.scale_by_adam)(b1=lambda n: b1(1.0 * n))
    ours = gx.cautious(gx.scale_by_adam(b1=b1))
    _, state = theirs.update(PARAMS, theirs.init(PARAMS), PARAMS)
    taken = gx.from_optax(ours, PARAMS, state)
    assert int(taken.count) == 1
    assert float(taken.hyperparams["b1"]) == pytest.approx(0.5)


def test_what_complex_arrays_have_of_both_parts_is_refused():
    w = jnp.ones(2, complex)
    for ours, theirs, words in (
        (gx.madgrad(0.1), optax.contrib.madgrad(0.1), "grad_sum_sq has the squares of both parts of a complex array"),
        (
            gx.cocob(),
            optax.contrib.cocob(),
            "subgradients has the sizes of both parts of a complex array, in Optax a",
        ),
        (gx.ademamix(0.1), optax.contrib.ademamix(0.1), "nu has the squares of both parts of a complex array"),
    ):
        with refused(ValueError, words):
            gx.from_optax(ours, w, theirs.init(w))
    state = optax.optimistic_gradient_descent(0.1).init(w)  # which is linear
    assert gx.from_optax(gx.optimistic_gradient_descent(0.1), w, state)[0].previous_gradient.dtype == w.dtype
