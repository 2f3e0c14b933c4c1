"""A value in an editor, in a prompt and in the hands of tools that take it for a named tuple."""

import dataclasses
import pydoc
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tree

import gradtx as gx
from gradtx.values.recipe import Recipe

TX = gx.chain(clip=gx.clip_by_norm(1.0), descent=gx.adamw(0.1))
W = jnp.array([3.0, -4.0])


def first_step(pair):
    init, update = pair
    return update(W, init(W), W)[0]


@dataclasses.dataclass
class Holder:
    tx: Any


@pytest.mark.parametrize(
    "rebuild",
    [
        lambda tx: dataclasses.asdict(Holder(tx))["tx"],
        lambda tx: tree.map_structure(lambda x: x, tx),
        lambda tx: type(tx)(*tx),
        lambda tx: type(tx)._make(tuple(tx)),
    ],
    ids=["dataclasses.asdict", "dm-tree", "type(tx)(*tx)", "_make"],
)
def test_tools_that_rebuild_named_tuples_get_a_plain_pair(rebuild):
    pair = rebuild(TX)
    assert type(pair) is optax.GradientTransformationExtraArgs
    np.testing.assert_array_equal(first_step(pair), first_step(TX))


def test_it_is_a_tuple_of_two_functions():
    assert len(TX) == 2
    assert (TX[0], TX[1]) == (TX.init, TX.update) == tuple(TX)
    assert isinstance(TX, optax.GradientTransformationExtraArgs)
    assert list(TX._asdict()) == ["init", "update"]


def test_a_prompt_offers_the_arguments_and_what_can_be_done():
    assert dir(TX) == ["clip", "descent", "init", "parts", "replace", "update"]
    assert dir(gx.scale(0.5)) == ["factor", "init", "replace", "update"]
    assert dir(gx.constant(0.5)) == ["replace", "then", "value"]
    assert dir(gx.by_ndim(2)) == ["at_least", "chosen", "mask", "replace"]


def test_a_factory_says_what_it_is():
    assert repr(gx.scale) == "<gradtx.scale(factor), makes a Transformation>"
    assert str(gx.constant) == "<gradtx.constant(value), makes a Schedule>"
    assert repr(gx.adam).startswith("<gradtx.adam(learning_rate, b1=0.9, b2=0.999, ")


def test_help_shows_mathematics_as_plain_text():
    plain: Any = vars(pydoc)["plaintext"]  # which its stub lacks
    text = pydoc.render_doc(gx.adamw, renderer=plain)
    assert "Adam with decoupled weight decay, w ← w - η (m̂/(√v̂ + ε) + λ w)." in text
    assert ">>> gradtx.adamw(1e-3, weight_decay=0.1)" in text
    for name in gx.__all__:
        factory = getattr(gx, name)
        if isinstance(factory, Recipe):
            prose = re.sub(r"(?m)^ *>>> .*(\n(?!\s*$).*)*|`[^`]*`", "", factory.__doc__ or "")
            assert "$" not in prose, name


def test_unflattening_runs_no_factory_and_no_check():
    calls = []

    @gx.transformation
    def counted(factor: gx.Positive):
        calls.append(factor)
        return gx.stateless(lambda g: factor * g)

    tx = counted(2.0)
    calls.clear()
    negative = jax.tree.map(lambda x: -x, tx)  # out of range, as a gradient by the value may be
    assert negative.factor == -2.0
    assert (repr(negative), negative == tx, hash(negative) == hash(tx)) == ("counted(factor=-2.0)", False, False)
    assert calls == []
    np.testing.assert_array_equal(negative.update(W, negative.init(W))[0], -2.0 * W)
    assert len(calls) == 2  # for `init`, and for the compiled update with its number as an argument
