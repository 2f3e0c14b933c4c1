"""What starts anew when a state is taken over from a flat one, and which counts go on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.refusals import refused

W = {"body": jnp.ones((2, 3)), "head": {"w": jnp.ones(3), "b": jnp.ones(2)}}
ADAM = gx.adam(0.1)


def trained(tx, steps=3, params=W):
    state = tx.init(params)
    for _ in range(steps):
        _, state = tx.update(params, state, params)
    return state


@pytest.mark.parametrize(
    "fresh",
    [
        ["scale_by_adam/mu/head", "scale_by_adam/nu/head"],
        ["scale_by_adam/mu/head/w", "scale_by_adam/mu/head/b", "scale_by_adam/nu/head"],
    ],
)
def test_arrays_that_were_added_start_anew_and_the_others_go_on(fresh):
    body = {"body": W["body"]}
    state = trained(ADAM, params=body)
    taken, _ = gx.from_flat(ADAM, W, gx.to_flat(ADAM, state), fresh)
    assert int(taken.count) == 3
    for name in ("mu", "nu"):
        np.testing.assert_array_equal(getattr(taken, name)["body"], getattr(state[0], name)["body"])
        np.testing.assert_array_equal(getattr(taken, name)["head"]["w"], np.zeros(3))


def test_what_starts_anew_may_be_in_the_dict():
    state = trained(ADAM)
    taken, _ = gx.from_flat(ADAM, W, gx.to_flat(ADAM, state), fresh=["scale_by_adam/mu/head/b"])
    np.testing.assert_array_equal(taken.mu["head"]["b"], np.zeros(2))
    np.testing.assert_array_equal(taken.mu["head"]["w"], state[0].mu["head"]["w"])
    wide = gx.to_flat(ADAM, state) | {"scale_by_adam/nu/head/c": jnp.ones(9)}  # it may have lost an array, too
    np.testing.assert_array_equal(
        gx.from_flat(ADAM, W, wide, fresh=["scale_by_adam/nu"])[0].nu["body"], np.zeros((2, 3))
    )


def test_the_remedy_loses_nothing_that_is_there():
    body = gx.to_flat(ADAM, trained(ADAM, params={"body": W["body"]}))
    with refused(ValueError, "what starts anew is named in fresh=['scale_by_adam/mu/head', 'scale_by_adam/nu/head']"):
        gx.from_flat(ADAM, W, body)
    one = gx.to_flat(ADAM, trained(ADAM))
    del one["scale_by_adam/mu/head/b"]
    with refused(ValueError, "it lacks scale_by_adam/mu/head/b; what starts anew is named in fresh=['scale_by_adam/mu"):
        gx.from_flat(ADAM, W, one)
    with refused(ValueError, "fresh=['accumulate']"):
        gx.from_flat(gx.accumulate(ADAM, 2), W, gx.to_flat(ADAM, trained(ADAM)))


def test_one_group_may_start_anew():
    adam = gx.scale_by_adam()
    tx = gx.partition((gx.by_path("body"), adam), default=adam)
    flat = gx.to_flat(tx, trained(tx), W)
    assert "scale_by_adam/count@head/b,head/w" in flat
    for name in ("head/b,head/w", "~by_path(pattern='body')"):
        state = gx.from_flat(tx, W, flat, fresh=[f"scale_by_adam/count@{name}"])
        assert [int(x.count) for x in state] == [3, 0]
    state = gx.from_flat(tx, W, flat, fresh=["scale_by_adam/count"])
    assert [int(x.count) for x in state] == [0, 0]


def test_names_at_which_there_is_nothing():
    for name in ("scale_by_adam/m", "scale_by_adam/mu/", "scale_by_adam/mu/head/w/0", "scale_by_adam/count@body"):
        with refused(ValueError, f"fresh names {name}, the parts of tx are scale_by_adam, scale_by_learning_rate"):
            gx.from_flat(ADAM, W, gx.to_flat(ADAM, trained(ADAM)), fresh=[name])


# ---- counts ----


def test_a_schedule_inside_of_accumulate_goes_on_at_the_windows_done_so_far():
    plain = gx.accumulate(gx.scale_by_sign(), 2)
    tx = gx.accumulate(gx.chain(gx.scale_by_sign(), gx.scale_by_learning_rate(gx.cosine(0.1, 10))), 2)
    state = trained(plain, 7)
    taken = gx.from_flat(tx, W, gx.to_flat(plain, state))
    assert (int(taken.count), int(taken.mini_step), int(taken.inner_state[1].count)) == (3, 1, 3)
    _, after = tx.update(W, taken, W)
    assert float(after.inner_state[1].learning_rate) == pytest.approx(float(gx.cosine(0.1, 10)(3)))


def test_counts_of_updates_go_before_those_of_windows():
    # An optimizer that has been put into accumulate has done more updates than there were windows.
    tx = gx.accumulate(gx.chain(gx.scale_by_adam()), 2)
    state = gx.from_flat(tx, W, gx.to_flat(gx.scale_by_adam(), trained(gx.scale_by_adam(), 5)), fresh=["accumulate"])
    _, state = tx.update(W, state, W)
    _, state = tx.update(W, state, W)
    scheduled = gx.accumulate(gx.chain(gx.scale_by_adam(), gx.scale_by_learning_rate(gx.cosine(0.1, 10))), 2)
    taken = gx.from_flat(scheduled, W, gx.to_flat(tx, state))
    assert (int(taken.count), int(taken.inner_state[1].count)) == (1, 6)


def test_windows_that_are_missing_are_no_updates():
    flat = gx.to_flat(gx.accumulate(ADAM, 2), trained(gx.accumulate(ADAM, 2)))
    del flat["accumulate/count"]
    with refused(ValueError, "it lacks accumulate/count; what starts anew is named in fresh=['accumulate/count']"):
        gx.from_flat(gx.accumulate(ADAM, 2), W, flat)
    # Those of one accumulate inside of another are its own.
    two = gx.accumulate(gx.accumulate(gx.scale_by_sign(), 2), 2)
    tx = gx.accumulate(gx.accumulate(gx.sgd(0.1), 2), 2)
    taken = gx.from_flat(tx, W, gx.to_flat(two, trained(two, 8)))
    assert [int(x) for x in (taken.count, taken.inner_state.count, taken.inner_state.inner_state.count)] == [4, 2, 2]
    assert jax.tree.structure(taken) == jax.tree.structure(tx.init(W))
