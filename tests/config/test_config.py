"""Optimizers as data: what is written reads back, people can write it, and anything else is refused in clear words."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from gradtx import from_config, to_config
from gradtx.config.names import find_factories
from gradtx.config.read import from_file
from gradtx.values.recipe import Recipe
from gradtx.values.value import arguments, text_of
from tests.catalogue import SCHEDULES, TRANSFORMATIONS
from tests.catalogue.front import as_examples

RATE = gx.warmup(4e-3, 30).then(gx.cosine(4e-3, 570, floor=1e-5), at=30)
TX = gx.chain(gx.clip_by_global_norm(1), gx.adamw(RATE * 0.5, weight_decay=0.1))
CONFIG = {
    "gradtx": 1,
    "optimizer": {
        "chain": {
            "parts": [
                {"clip_by_global_norm": {"max_norm": 1.0}},
                {
                    "adamw": {
                        "learning_rate": {
                            "*": [
                                {
                                    "then": {
                                        "first": {"warmup": {"value": 0.004, "steps": 30}},
                                        "following": {"cosine": {"start": 0.004, "steps": 570, "floor": 1e-05}},
                                        "at": 30,
                                    }
                                },
                                0.5,
                            ]
                        },
                        "weight_decay": 0.1,
                    }
                },
            ]
        }
    },
}


def half(count):
    return 0.5 / (count + 1.0)


@gx.transformation
def scale_by_mine(factor: gx.Positive = 2.0, *, power: gx.Steps = 1):
    return gx.stateless(lambda g: factor * g**power)


def again(value, names=None):
    """The value by way of a file."""
    return from_config(json.loads(json.dumps(to_config(value, names), sort_keys=True, allow_nan=False)), names)


def same(value, names=None):
    other = again(value, names)
    assert other == value
    assert text_of(other) == text_of(value)
    kinds = [[type(x) for _, x in arguments(v)] for v in (other, value)]
    assert kinds[0] == kinds[1]
    return True


# ---- what is written reads back ----


def test_the_form_that_people_read_and_write():
    assert to_config(TX) == CONFIG
    assert from_config(CONFIG) == TX
    assert list(to_config(TX)) == ["gradtx", "optimizer"]


@pytest.mark.parametrize("value", [m.tx for m in TRANSFORMATIONS] + SCHEDULES, ids=text_of)
def test_every_member_reads_back(value):
    functions = [x for _, x in arguments(value) if callable(x) and not isinstance(x, gx.Schedule | gx.Transformation)]
    names: dict[str, Any] = {f"function {i}": x for i, x in enumerate(functions) if not hasattr(x, "recipe")}
    names["as_examples"] = as_examples  # a factory of the catalogue's own
    assert same(value, names)


@pytest.mark.parametrize(
    "value",
    [
        gx.constant(0.1) + gx.cosine(0.1, 10) * gx.linear(0.1, 0.0, 5) + 1,
        RATE.then(0.1, at=900),
        gx.by_path("bias$|scale") | ~(gx.by_ndim(at_least=2) & gx.by_tree(("a", "b/c"), ())),
        gx.partition(
            (gx.by_path("é"), gx.sgd(0.1)), (gx.by_ndim(1), gx.adam(gx.controlled(0.1))), default=gx.identity()
        ),
        gx.chain(z=gx.chain(clip=gx.clip_by_norm(1.0), adam=gx.adam(1e-3)), a=gx.chain(gx.scale(0.5))),
        gx.chain(b=gx.scale(1.0), named=gx.scale(2.0)),
        gx.constrain_norm(1.0, axis=(0, 1)),
        gx.piecewise_constant((10, 20), (0.1, np.float32(0.1), 1e-300)),
        gx.piecewise_constant((), (0.1,)),
        gx.cosine(0.1, 10.0),  # not 10
        gx.sgd(1 / 3, momentum=5e-324),
        gx.chain(*[gx.scale(x) for x in (np.float32(0.1), np.float64(0.1), np.float16(0.1), jnp.bfloat16(0.1))]),
        gx.scale(jnp.float32(0.1)),
        gx.step(0.1, 0.5, np.int32(10)),
    ],
    ids=text_of,
)
def test_schedules_selectors_names_and_numbers_of_every_kind_read_back(value):
    assert same(value)


def test_the_order_of_named_parts_survives_sorted_keys():
    tx = gx.chain(second=gx.scale(1.0), first=gx.scale(2.0))
    assert list(again(tx).arguments) == list(tx.arguments)
    assert to_config(tx)["optimizer"]["chain"] == {
        "named": [["second", {"scale": {"factor": 1.0}}], ["first", {"scale": {"factor": 2.0}}]]
    }


def test_what_the_caller_hands_in_is_written_by_its_name():
    trace = optax.trace(0.9)
    tx = gx.chain(scale_by_mine(3.0), trace, gx.sgd(half), gx.parallel(gx.scale(0.1), gx.ema(0.9), join=max))
    names: dict[str, Any] = {"mine": scale_by_mine, "trace": trace, "half": half, "max": max, "unused": print}
    assert same(tx, names)
    assert to_config(tx, names)["optimizer"]["chain"]["parts"][:3] == [
        {"mine": {"factor": 3.0}},
        {"name": "trace"},
        {"sgd": {"learning_rate": {"name": "half"}}},
    ]
    assert from_config({"gradtx": 1, "optimizer": {"name": "trace"}}, names) is trace
    assert to_config(trace, names) == {"gradtx": 1, "optimizer": {"name": "trace"}}
    config = {"gradtx": 1, "optimizer": {"sgd": {"learning_rate": {"name": "rate"}}}}
    assert from_config(config, {"rate": RATE}) == gx.sgd(RATE)


def test_a_factory_of_the_users_own_is_not_taken_for_gradtxs():
    @gx.composition
    def adam(learning_rate: gx.Positive):
        return gx.sgd(learning_rate)

    with pytest.raises(TypeError, match=r'the value is adam\(learning_rate=0.1\).* names=\{"adam": adam\}'):
        to_config(adam(0.1))
    assert same(adam(0.1), {"my_adam": adam})


def test_a_loaded_optimizer_trains_like_the_one_that_was_written():
    params = {"w": jnp.ones((2, 3)), "bias": jnp.ones(3)}
    tx = gx.partition((gx.by_path("bias$"), gx.sgd(RATE)), default=gx.adamw(RATE, weight_decay=0.1))
    updates = [one.update(params, one.init(params), params)[0] for one in (tx, again(tx))]
    jax.tree.map(np.testing.assert_array_equal, *updates)


def test_every_public_factory_and_no_other_name_can_be_built():
    public = {name: x for name in gx.__all__ if isinstance(x := getattr(gx, name), Recipe)}
    assert find_factories() == public  # if not: FOLDERS lacks one, or a factory that is not public needs a _ before it
    assert {"adam", "chain", "cosine", "by_path", "partition", "controlled"} <= public.keys()


# ---- files ----


def test_a_file(tmp_path):
    path = tmp_path / "adamw.json"
    path.write_text(json.dumps(CONFIG, indent=2))
    assert from_file(path) == TX
