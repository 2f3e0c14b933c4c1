"""Flat checkpoints in which anything may stand: the state of an optimizer, or a refusal that says what is wrong."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradtx as gx
from tests.hard_days.tries import tries
from tests.hard_days.watch import nothing_happens
from tests.hard_days.whose import require_refusal

pytestmark = pytest.mark.slow

some = tries("GRADTX_TESTS_CHECKPOINTS", 300)
PARAMS = {"dense": {"w": jnp.ones((2, 4)), "b": jnp.ones(4)}, "frozen": None}
RATE = gx.cosine(0.1, 10)
OPTIMIZERS = [
    gx.adam(RATE),
    gx.skip_spikes(gx.accumulate(gx.adamw(0.1), 2)),
    gx.hold(gx.adam(0.1), mu=gx.blocks(8, 4, min_size=0), nu=gx.bfloat16),
    gx.partition((gx.by_path("w"), gx.adam(RATE)), default=gx.sgd(RATE, momentum=0.9)),
    gx.chain(gx.clip_by_global_norm(1.0), gx.sgd(gx.controlled(0.1), momentum=gx.linear(0.5, 0.9, 10))),
    gx.chain(gx.adam(0.1), gx.write_stochastically(0)),
]


@functools.cache
def flats() -> list[Any]:
    found = [gx.to_flat(tx, tx.init(PARAMS), PARAMS) for tx in OPTIMIZERS]
    for tx, flat, form in zip(OPTIMIZERS, found, forms(), strict=True):  # and JAX imports at its first
        assert jax.tree.structure(gx.from_flat(tx, PARAMS, flat)) == jax.tree.structure(form)
    return found


@functools.cache
def forms() -> list[Any]:
    return [jax.eval_shape(tx.init, PARAMS) for tx in OPTIMIZERS]


def all_names() -> list[str]:
    return sorted({key for flat in flats() for key in flat})


def all_pieces() -> list[str]:
    return sorted({piece for name in all_names() for piece in name.split("/")})


names_of_arrays: Any = st.deferred(lambda: st.sampled_from(all_names()))
pieces: Any = st.deferred(lambda: st.sampled_from(all_pieces()))
odd_words = pieces | st.sampled_from(["#2", "@", "/", "codec", "codes", "scale", "fresh", "", ".", "é"])
keys: Any = names_of_arrays | st.lists(odd_words, max_size=4).map("/".join) | st.text(max_size=4)
odd_keys: Any = keys | st.integers(0, 3) | st.none() | st.just(b"w") | st.just(("w",))
CODECS = [
    "blocks(8) float32 2 4",
    "__import__('os') float32 4",
    "blocks(8, 4) float99 2 4",
    "adam(0.1) float32 2 4",
    "",
]
CODECS += ["bfloat16() float32 -2 4", "blocks(8, 4, min_size=0) float32 99999999 99999999", "open('x') float32 1", "()"]
SHAPES = st.sampled_from([(), (4,), (2, 4), (0,), (1, 2, 4), (8,)])
DTYPES = ["float64", "float32", "int32", "int8", "uint8", "bool", "complex64", "V2", "S3", "U2", "M8[s]", "object"]


def make_array(shape: Any, dtype: str) -> Any:
    return np.zeros(shape, dtype)


things: Any = (
    st.builds(make_array, SHAPES, st.sampled_from(DTYPES))
    | st.sampled_from([text.encode() for text in CODECS]).map(lambda text: np.frombuffer(text, np.uint8))
    | st.binary(max_size=20).map(lambda text: np.frombuffer(text, np.uint8))
    | st.none()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.builds(list)
    | st.builds(lambda shape: jnp.zeros(shape, jnp.bfloat16), SHAPES)
    | st.builds(lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32), SHAPES)
    | st.builds(lambda: jax.random.key(0))
    | st.builds(lambda shape: jnp.full(shape, jnp.nan), SHAPES)
)
change = st.one_of(
    st.tuples(st.just("left out"), st.integers(0, 40)),
    st.tuples(st.just("renamed"), st.integers(0, 40), keys),
    st.tuples(st.just("another"), st.integers(0, 40), things),
    st.tuples(st.just("more"), odd_keys, things),
    st.tuples(st.just("cut"), st.integers(0, 40)),
)
fresh = st.lists(keys | pieces, max_size=2) | st.sampled_from([(), (), (), "adam", None, 3, [None]])


def apply_change(flat: dict[Any, Any], what: str, *details: Any) -> dict[Any, Any]:
    if what == "more":
        return flat | {details[0]: details[1]}
    if not flat:
        return flat
    key = list(flat)[details[0] % len(flat)]
    rest = {name: x for name, x in flat.items() if name != key}
    if what == "left out":
        return rest
    if what == "renamed":
        return rest | {details[1]: flat[key]}
    if what == "another":
        return rest | {key: details[1]}
    x = flat[key]
    return rest | {key: x[:1] if isinstance(x, np.ndarray | jax.Array) and x.ndim else x}


def form(x: Any) -> Any:
    return x.shape, x.dtype, getattr(x, "weak_type", False)


@some
@given(st.integers(0, 100), st.integers(0, 100), st.lists(change, max_size=3), fresh)
def test_checkpoints(place: int, other: int, changes: Any, names: Any):
    i = place % len(OPTIMIZERS)
    j = other % len(OPTIMIZERS) if other < 30 else i  # of another optimizer, now and then
    flat: Any = dict(flats()[j])
    for one in changes:
        flat = apply_change(flat, *one)
    try:
        with nothing_happens():
            state = gx.from_flat(OPTIMIZERS[i], PARAMS, flat, fresh=names)
    except (TypeError, ValueError) as error:
        require_refusal(error)
        return
    assert jax.tree.structure(state) == jax.tree.structure(forms()[i])
    assert list(map(form, jax.tree.leaves(state))) == list(map(form, jax.tree.leaves(forms()[i])))
