"""What is no config, and what none can stand for, is refused in clear words, with its place."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from gradtx import from_config, to_config
from gradtx.config.names import DEEPEST
from gradtx.config.read import from_file
from gradtx.values.value import text_of


def half(count):
    return 0.5 / (count + 1.0)


def either(path, array):
    return True


# ---- what can't be written ----


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (3, TypeError, "^to_config: the value must be a transformation, a schedule or a selector, got int 3"),
        (gx.adam, TypeError, "^to_config: the value must be .*, got composition"),
        (gx.sgd(half), TypeError, r'^to_config: learning_rate is <half>, .*; hand it in: names=\{"half": half\}, for'),
        (gx.chain(gx.sgd(lambda t: 0.1)), TypeError, r'^to_config: parts\[0\].learning_rate is .*names=\{"mine"'),
        (gx.chain(a=optax.trace(0.9)), TypeError, r"^to_config: a is <optax.trace>, for which no plain data"),
        (gx.partition((gx.by(either), gx.sgd(0.1))), TypeError, r"^to_config: rules\[0\]\[0\].function is <either>"),
        (jax.vmap(gx.scale)(jnp.ones(3)), TypeError, r"^to_config: factor is float64\[3\], for which no plain data"),
        (optax.adam(0.1), TypeError, "^to_config: the value is <optax.chain>"),
    ],
    ids=text_of,
)
def test_what_is_no_data_is_refused_with_its_path(value, kind, message):
    with pytest.raises(kind, match=message):
        to_config(value)


def test_a_traced_number_and_an_infinite_one_are_refused():
    with pytest.raises(TypeError, match=r"^to_config: factor is float64\[\], for which no plain data can stand"):
        jax.jit(lambda x: to_config(gx.scale(x)) and x)(0.1)

    @gx.transformation
    def bounded(bound: object):
        return gx.stateless(lambda g: g)

    for infinite in (math.inf, np.float32(math.inf)):
        with pytest.raises(ValueError, match=r"^to_config: bound is inf, which JSON does not have"):
            to_config(bounded(infinite), {"bounded": bounded})


# ---- what can't be read ----

SGD = {"sgd": {"learning_rate": 0.1}}
CONFIG = {"gradtx": 1, "optimizer": SGD}


def nested(levels):
    return SGD if not levels else {"masked": {"tx": nested(levels - 1), "where": {"by_ndim": {"at_least": 1}}}}


BAD: dict[str, Any] = {
    "the value: unknown name 'adamm'; did you mean adam or radam or nadam": {"adamm": {}},
    "parts[1]: unknown name 'nothing_like_it'; known are the factories in gradtx": {
        "chain": {"parts": [SGD, {"nothing_like_it": {}}]}
    },
    "the value: unknown name '__import__'": {"__import__": {"name": "os"}},
    "the value: unknown name 'transformation'": {"transformation": {"factory": 1}},
    "the value: unknown name 'apply_updates'": {"apply_updates": {}},
    "the value: unknown name 'gradtx.adam'": {"gradtx.adam": {}},
    "the value: sgd has no argument 'momentun'; did you mean momentum?": {"sgd": {"momentun": 0.9}},
    "the value: sgd has no argument 'beta'; known are learning_rate, mom": {"sgd": {"beta": 0.9}},
    "the value: identity has no argument 'x'; known are no arguments": {"identity": {"x": 1}},
    "the value: chain has no argument 'clip'; known are parts, named": {"chain": {"clip": SGD}},
    "the value: sgd: missing a required argument: 'learning_rate'": {"sgd": {}},
    "parts[1]: adamw: b1 must be in [0, 1), got 1.5": {
        "chain": {"parts": [SGD, {"adamw": {"learning_rate": 0.1, "b1": 1.5}}]}
    },
    "a.learning_rate: cosine: steps must be a whole": {
        "chain": {"named": [["a", {"sgd": {"learning_rate": {"cosine": {"start": 1, "steps": -1}}}}]]}
    },
    "the value: sgd: learning_rate must be a number, a scalar array or a schedule, got str": {
        "sgd": {"learning_rate": "0.1"}
    },
    "the value: sgd: learning_rate must be a number, a scalar array or a schedule, got bool": {
        "sgd": {"learning_rate": True}
    },
    "the value: chain: parts[0] must be a transformation, got str 'adam'": {"chain": {"parts": ["adam"]}},
    "parts must be a list, got sgd(": {"chain": {"parts": SGD}},
    "the value: sgd must have a dict of its arguments, got list [0.1]": {"sgd": [0.1]},
    "the value: sgd must have a dict of its arguments, got float 0.1": {"sgd": 0.1},
    "the value must have one key, the name of a factory, got 2, ['sgd', 'adam']": {"sgd": {}, "adam": {}},
    "learning_rate must have one key, the name of a factory, got none": {"sgd": {"learning_rate": {}}},
    "learning_rate must be a dict, a list, a string, a number, a bool or None, got tuple (1,)": {
        "sgd": {"learning_rate": (1,)}
    },
    "learning_rate must be a dict, a list, a string, a number, a bool or None, got float32 float32[]": {
        "sgd": {"learning_rate": np.float32(0.1)}
    },
    "learning_rate is nan, which is no finite number": {"sgd": {"learning_rate": math.nan}},
    "learning_rate is 1e+300, which is no finite number in float32": {"sgd": {"learning_rate": {"float32": 1e300}}},
    "learning_rate is 300, which is no finite number in int8": {"sgd": {"learning_rate": {"int8": 300}}},
    "learning_rate must be a whole number, got float 0.5": {"sgd": {"learning_rate": {"int32": 0.5}}},
    "learning_rate must be a number, got list [0.5]": {"sgd": {"learning_rate": {"float32": [0.5]}}},
    "learning_rate: + must have a list of 2, got [1]": {"sgd": {"learning_rate": {"+": [1]}}},
    "learning_rate: * must have a list of 2, got {'a': 1, 'b': 2}": {"sgd": {"learning_rate": {"*": {"a": 1, "b": 2}}}},
    "learning_rate: then has no argument 'until'": {"sgd": {"learning_rate": {"then": {"until": 3}}}},
    "where: & is for selectors, got by_ndim(at_least=2) and 3": {
        "masked": {"tx": SGD, "where": {"&": [{"by_ndim": {"at_least": 2}}, 3]}}
    },
    "where: ~ is for selectors, got sgd(": {"masked": {"tx": SGD, "where": {"~": [SGD]}}},
    "learning_rate: + must have a schedule on one side, got 1 and 0.5": {"sgd": {"learning_rate": {"+": [1, 0.5]}}},
    "learning_rate: then must follow a schedule, got 0.1 and 0.2 and 3": {
        "sgd": {"learning_rate": {"then": {"at": 3, "first": 0.1, "following": 0.2}}}
    },
    "learning_rate: first.then(following, at=at): missing a required argument: 'at'": {
        "sgd": {"learning_rate": {"then": {"first": 0.1, "following": 0.2}}}
    },
    "named must be a list of pairs [name, value], since the order counts, got {": {"chain": {"named": {"clip": SGD}}},
    "named has a name twice: a, a": {"chain": {"named": [["a", SGD], ["a", SGD]]}},
    "learning_rate: unknown name 'half'; known are none: hand it in as names={": {
        "sgd": {"learning_rate": {"name": "half"}}
    },
    "learning_rate: unknown name 3": {"sgd": {"learning_rate": {"name": 3}}},
    'the value: adam is a factory; write {"adam": {…}}': {"name": "adam"},
    f": nested more than {DEEPEST} deep": nested(DEEPEST + 1),
    'the optimizer must be written like {"adam": {"learning_rate": 0.001}}, got str \'adam\'': "adam",
    'the optimizer must be written like {"adam": {"learning_rate": 0.001}}, got Schedule constant(': {
        "constant": {"value": 1.0}
    },
}


@pytest.mark.parametrize("message", BAD, ids=lambda message: message[:40])
def test_data_that_mean_nothing_are_refused_with_the_place(message):
    with pytest.raises((TypeError, ValueError)) as caught:
        from_config({"gradtx": 1, "optimizer": BAD[message]})
    assert str(caught.value).startswith("from_config: ")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([SGD], 'the config must be a dict such as {"gradtx": 1, "optimizer": {"adam": {.*, got list'),
        (SGD, 'the config must have its version, "gradtx": 1, as in'),
        ({"gradtx": "1", "optimizer": SGD}, "the config must have its version"),
        ({"gradtx": True, "optimizer": SGD}, "the config must have its version"),
        ({"gradtx": 2, "optimizer": SGD}, "the config is of version 2; this gradtx reads version 1"),
        ({"gradtx": 1}, "beside its version the config must have one of optimizer, schedule, selector, got nothing"),
        ({"gradtx": 1, "optimiser": SGD}, "must have one of optimizer, schedule, selector, got optimiser"),
        ({"gradtx": 1, "optimizer": SGD, "schedule": 1}, "must have one of .*, got optimizer, schedule"),
        ({"gradtx": 1, "schedule": SGD}, 'the schedule must be written like {"cosine": .*, got Transformation sgd'),
    ],
)
def test_data_of_another_form_are_refused(config, message):
    with pytest.raises((TypeError, ValueError), match=f"^from_config: .*{message}"):
        from_config(config)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["half"], "names must be a dict whose keys are strings, got "),
        ({1: half}, "names must be a dict whose keys are strings, got "),
        ({"adam": half}, "names can't have 'adam', which has a meaning of its own"),
        ({"then": half}, "names can't have 'then'"),
        ({"name": half}, "names can't have 'name'"),
        ({"float32": half}, "names can't have 'float32'"),
    ],
)
def test_names_that_mean_something_else_are_refused(names, message):
    for call in (lambda: to_config(gx.sgd(0.1), names), lambda: from_config(CONFIG, names)):
        with pytest.raises((TypeError, ValueError), match=message):
            call()
    assert from_config(CONFIG, {"sgd": gx.sgd}) == gx.sgd(0.1)


def test_a_function_that_was_handed_in_is_not_called():
    def launch():
        raise AssertionError("called")

    config = {"gradtx": 1, "optimizer": {"sgd": {"learning_rate": {"launch": {}}}}}
    with pytest.raises(ValueError, match=r"unknown name 'launch'; write .\"name\": \"launch\". for what was handed in"):
        from_config(config, {"launch": launch})
    with pytest.raises(ValueError, match=r"unknown name 'launsh'; did you mean launch\?"):
        from_config({"gradtx": 1, "optimizer": {"name": "launsh"}}, {"launch": launch})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "is no JSON: Expecting property name enclosed in double quotes: line 1 column 2"),
        (b"", "is no JSON: Expecting value"),
        (b"\xff", "is no JSON: 'utf-8' codec can't decode"),
        (b'{"gradtx": 1, "gradtx": 1}', "is no JSON: 'gradtx' is given twice"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"gradtx": 1, "optimizer": {"sgd": {"learning_rate": NaN}}}', "learning_rate is nan, which is no finite"),
        (b"1" * 5_000, "is no JSON: Exceeds the limit"),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=message):
        from_file(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"^can't read '.*none.json': No such file or directory"):
        from_file(tmp_path / "none.json")
    with pytest.raises(ValueError, match=r"^can't read .*: Is a directory"):
        from_file(tmp_path)
