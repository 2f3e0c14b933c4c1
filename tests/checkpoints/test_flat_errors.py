"""What `to_flat` and `from_flat` refuse, and in which words."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.refusals import refused

W = {"w": jnp.ones((2, 3), "float32"), "b": jnp.ones(3, "float32")}
ADAM = gx.adam(0.1)
FLAT = gx.to_flat(ADAM, ADAM.init(W))
ARE_NAMED = "what starts anew is named in fresh"
IS_LOST = " (of which dtype, NumPy has not kept: view it as that first)"
IS_DELETED = "what is to be left behind is deleted from the dict"


def without(*names):
    return {key: x for key, x in FLAT.items() if not key.startswith(names)}


def test_what_is_no_transformation():
    with refused(TypeError, "to_flat: tx must be a transformation, got int 3"):
        gx.to_flat(3, ())
    with refused(TypeError, "from_flat: tx must be a transformation, got str 'adam'"):
        gx.from_flat("adam", W, FLAT)


def test_a_state_of_another_optimizer():
    with refused(TypeError, "to_flat: the state is a ScaleByMomentumState, expected ScaleByAdamState: it was made by"):
        gx.to_flat(ADAM, gx.sgd(0.1, momentum=0.9).init(W))
    with refused(ValueError, "to_flat: the state must be a tuple of 2, got 3 states: it was made by another optimizer"):
        gx.to_flat(ADAM, gx.adamw(0.1).init(W))
    with refused(ValueError, "to_flat: the state has no 'inner_state' in its tuple; it was made by another optimizer"):
        gx.to_flat(gx.accumulate(ADAM, 2), ADAM.init(W))
    with refused(ValueError, "to_flat: the state must be a dict of ['a'], got ['a', 'b']: it was made by another"):
        gx.to_flat(gx.chain(a=ADAM), gx.chain(a=ADAM, b=ADAM).init(W))


@pytest.mark.parametrize(
    ("tx", "words"),
    [
        (ADAM, "a tuple of 2"),
        (gx.adam(gx.constant(0.1)), "a tuple of 2"),
        (gx.partition((gx.by_path("w"), ADAM), default=ADAM), "a tuple of 2"),
        (gx.parallel(gx.ema(0.5), gx.ema(0.9), join=jnp.add), "a tuple of 2"),
    ],
)
def test_a_state_with_as_many_fields_as_there_are_parts(tx, words):
    made = "it was made by another optimizer's init"
    with refused(TypeError, f"to_flat: the state is a ScaleByLearningRateState, expected {words}: {made}"):
        gx.to_flat(tx, gx.sgd(0.1).init(W))


def test_what_to_flat_did_not_make():
    with refused(TypeError, "from_flat: flat must be a mapping of keys to arrays, got tuple (ScaleByAdamState("):
        gx.from_flat(ADAM, W, ADAM.init(W))
    with refused(TypeError, "from_flat: the keys of flat must be strings, got 0, 1"):
        gx.from_flat(ADAM, W, dict[Any, Any](enumerate(jnp.ones(2))))
    with refused(ValueError, "from_flat: flat has no 'version', so to_flat did not make it; it has a, b"):
        gx.from_flat(ADAM, W, dict(a=1, b=2))
    with refused(ValueError, "from_flat: flat has no 'version', so to_flat did not make it; it has nothing"):
        gx.from_flat(ADAM, W, {})
    with refused(ValueError, "from_flat: flat is of version 2, this release of gradtx reads 1"):
        gx.from_flat(ADAM, W, FLAT | dict(version=np.int32(2)))
    with refused(ValueError, "from_flat: flat is of version int64[2], this release of gradtx reads 1"):
        gx.from_flat(ADAM, W, FLAT | dict(version=np.ones(2, np.int64)))


def test_names_that_are_none():
    flag: Any = True
    number: Any = 3
    with refused(TypeError, "from_flat: fresh must be names of parts, as in fresh=['accumulate'], got 'accumulate'"):
        gx.from_flat(ADAM, W, FLAT, fresh="accumulate")
    with refused(TypeError, "from_flat: fresh must be names of parts, as in fresh=['accumulate'], got True"):
        gx.from_flat(ADAM, W, FLAT, fresh=flag)
    with refused(ValueError, "fresh names adam, the parts of tx are scale_by_adam, scale_by_learning_rate"):
        gx.from_flat(ADAM, W, FLAT, fresh=["adam"])
    with refused(ValueError, "fresh names adam, the parts of tx are none with a state"):
        gx.from_flat(gx.scale(0.5), W, dict(version=1), fresh=["adam"])
    with refused(TypeError, "fresh must be names of parts, as in fresh=['accumulate'], got [3]"):
        gx.from_flat(ADAM, W, FLAT, fresh=[number])


def test_what_is_missing():
    tx = gx.accumulate(ADAM, 2)
    lacks = "accumulate/mini_step, accumulate/count, accumulate/acc_grads/b, accumulate/acc_grads/w"
    with refused(
        ValueError, f"from_flat: the dict does not fit accumulate: it lacks {lacks}; {ARE_NAMED}=['accumulate']"
    ):
        gx.from_flat(tx, W, FLAT)
    lacks = "scale_by_adam/mu/b, scale_by_adam/mu/w"
    with refused(ValueError, f"adam: it lacks {lacks}; {ARE_NAMED}=['scale_by_adam/mu']"):
        gx.from_flat(ADAM, W, without("scale_by_adam/mu"))
    many = {str(i): jnp.ones(1) for i in range(10)}
    with refused(ValueError, "ema/ema/5, ema/ema/6, ema/ema/7 and 2 more; what starts anew is named in fresh=['ema']"):
        gx.from_flat(gx.ema(0.5), many, dict(version=1))


def test_what_is_left_over():
    sgd = gx.sgd(0.1)
    over = "scale_by_adam/count, scale_by_adam/mu/b, scale_by_adam/mu/w, scale_by_adam/nu/b, scale_by_adam/nu/w"
    with refused(ValueError, f"from_flat: the dict does not fit sgd: nothing in tx takes {over}; {IS_DELETED}"):
        gx.from_flat(sgd, W, FLAT)
    gx.from_flat(sgd, W, without("scale_by_adam/"))
    controlled = gx.sgd(gx.controlled(0.1))
    with refused(ValueError, "sgd: nothing in tx takes scale_by_learning_rate/controlled/learning_rate; what is to be"):
        gx.from_flat(sgd, W, gx.to_flat(controlled, controlled.init(W)))
    with refused(ValueError, f"adam: nothing in tx takes nonsense; {IS_DELETED}"):
        gx.from_flat(ADAM, W, FLAT | dict(nonsense=1))


def test_other_parameters():
    other = {"w": jnp.ones((3, 2), "float32"), "bias": jnp.ones(3, "float32")}
    lacks = "it lacks scale_by_adam/mu/bias, scale_by_adam/nu/bias"
    over = "nothing in tx takes scale_by_adam/mu/b, scale_by_adam/nu/b"
    unfit = "is float32[2, 3], expected float32[3, 2]"
    unfit = f"scale_by_adam/mu/w {unfit}, scale_by_adam/nu/w {unfit}"
    names = "'scale_by_adam/mu/bias', 'scale_by_adam/nu/bias'"
    with refused(ValueError, f"{lacks}; {over}; {unfit}; {ARE_NAMED}=[{names}]; {IS_DELETED}"):
        gx.from_flat(ADAM, other, FLAT)


@pytest.mark.parametrize(
    ("key", "x", "words"),
    [
        ("scale_by_adam/mu/b", jnp.ones(3, int), "is int64[3], expected float32[3]"),
        ("scale_by_adam/mu/b", jnp.ones(3, complex), "is complex128[3], expected float32[3]"),
        ("scale_by_adam/mu/b", np.ones(3, bool), "is bool[3], expected float32[3]"),
        ("scale_by_adam/mu/b", np.array(["x"] * 3), "is <U1[3], expected float32[3]"),
        ("scale_by_adam/mu/b", np.ones(3, np.float32).view("V4"), f"is |V4[3], expected float32[3]{IS_LOST}"),
        ("scale_by_adam/count", 2, "is no array but 2"),
        ("scale_by_adam/mu/b", None, "is no array but None"),
        ("scale_by_adam/mu/b", jax.ShapeDtypeStruct((3,), "float32"), "is the shape of an array and has no numbers"),
    ],
)
def test_other_kinds_of_arrays(key, x, words):
    with refused(ValueError, f"from_flat: the dict does not fit adam: {key} {words}"):
        gx.from_flat(ADAM, W, FLAT | {key: x})


def test_counts_that_do_not_agree():
    tx = gx.adam(0.1, b1=gx.constant(0.9))
    gx.from_flat(tx, W, FLAT)
    flat = FLAT | {"scale_by_adam/count": np.int32(7)}
    with refused(ValueError, f"it lacks scale_by_adam/schedule/count; {ARE_NAMED}=['scale_by_adam/schedule']"):
        gx.from_flat(tx, W, flat)


def test_counts_of_other_steps_are_not_taken():
    clip = gx.clip_by_norm(1.0)
    windows = gx.chain(clip, gx.accumulate(ADAM, 2))
    tx = gx.chain(gx.clip_by_norm(gx.constant(1.0)), gx.accumulate(ADAM, 2))
    with refused(ValueError, f"chain: it lacks clip_by_norm/schedule/count; {ARE_NAMED}=['clip_by_norm/schedule']"):
        gx.from_flat(tx, W, gx.to_flat(windows, windows.init(W)))


def test_what_init_refuses_is_its_own_error():
    with refused(ValueError, "masked: where, by_path(pattern='nothing'), matches no array of b, w"):
        gx.from_flat(gx.masked(optax.trace(0.9), gx.by_path("nothing")), W, FLAT)


def test_a_number_whose_dtype_numpy_has_not_kept_agrees_with_none():
    lost = np.zeros((), "V2")
    with refused(ValueError, "scale_by_adam/count is bfloat16[], expected int32[]"):
        gx.from_flat(ADAM, W, FLAT | {"scale_by_adam/count": lost})
    two = gx.partition((gx.by_path("w"), ADAM), default=ADAM)
    flat = gx.to_flat(two, two.init(W))
    counts = [key for key in flat if key.startswith("scale_by_adam/count")]
    with refused(ValueError, "scale_by_adam/count"):
        gx.from_flat(ADAM, W, flat | {counts[0]: lost})
