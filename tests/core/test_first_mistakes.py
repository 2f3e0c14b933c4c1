"""The mistakes of a first hour, each with what helps in its message."""

from typing import Any

import jax.numpy as jnp
import pytest

import gradtx as gx
import gradtx.optax
from tests.refusals import refused

anything: Any = gx  # whose calls a type checker would refuse
PARAMS: Any = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}
ADAM = gx.adam(0.1)
STATE: Any = ADAM.init(PARAMS)
CALL = "the call is `updates, state = tx.update(updates, state, params)`"
DICT, TUPLE = "the tree of updates is of type dict", "the tree of updates is of type tuple, in params it is dict;"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ADAM.update(PARAMS, PARAMS, STATE), f"adam: {DICT}, in params it is tuple; {CALL}"),
        (lambda: ADAM.update(PARAMS, PARAMS, PARAMS), f"got dict: it is not what init returned; {CALL}"),
        (lambda: ADAM.update(PARAMS, [*STATE], PARAMS), "got list: it was restored without its form; restore"),
        (lambda: ADAM.update(PARAMS, (STATE,), PARAMS), "got 1 states: it was made by another optimizer; to_flat"),
        (lambda: gx.apply_updates(PARAMS, ADAM.update(PARAMS, STATE, PARAMS)), f"apply_updates: {TUPLE} {CALL}"),
        (lambda: gradtx.optax.apply_updates(PARAMS, (PARAMS, STATE)), f"in params it is dict; {CALL}"),
    ],
)  # fmt: skip
def test_arguments_in_one_anothers_place(call, message):
    with refused(ValueError, message):
        call()


def test_a_state_of_another_optimizer_names_the_way_over():
    with refused(TypeError, "it was made by another optimizer's init; to_flat and from_flat carry it over"):
        gx.scale_by_adam().update(PARAMS, gx.ema(0.9).init(PARAMS))


class Model:
    def __repr__(self):
        return "Model()"


@pytest.mark.parametrize("init", [gx.adam(0.1).init, gx.sgd(0.1).init, gradtx.optax.adam(0.1).init])
@pytest.mark.parametrize("model", [Model(), lambda x: x, "params"], ids=["object", "function", "word"])
def test_a_model_that_is_no_tree_of_arrays(init, model):
    with refused(TypeError, f"init takes a tree of arrays, got {type(model).__name__} "):
        init(model)


@pytest.mark.parametrize("optax", [gx, gradtx.optax])
def test_no_parameters_at_all_are_an_empty_tree(optax):
    assert gx.find(optax.adam(0.1).init(None), "mu") is None
    assert gx.find(optax.sgd(0.1, momentum=0.9).init(None), "trace") is None


def test_a_schedule_in_the_place_of_something_else():
    with refused(
        TypeError, "got Schedule cosine(start=0.1, steps=10); a schedule goes into one, as in scale_by_learni"
    ):
        anything.chain(ADAM, gx.cosine(0.1, 10))
    with refused(
        TypeError, "adam: learning_rate must be a number, a scalar array or a schedule, got a function; call it"
    ):
        anything.adam(gx.cosine)


def test_a_schedule_for_an_argument_that_is_no_hyperparameter():
    @gx.transformation
    def rule(b: float = 0.9):
        return gx.stateless(lambda g: b * g)

    @gx.transformation
    def unannotated(b=0.9):
        return gx.stateless(lambda g: b * g)

    with refused(TypeError, "unannotated: b is no hyperparameter and takes no schedule"):
        unannotated(gx.linear(0.0, 1.0, 10))  # pyright: ignore[reportArgumentType]
    with refused(
        TypeError, "rule: b is no hyperparameter and takes no schedule, got linear(start=0.0, end=1.0, steps=10)"
    ):
        rule(gx.linear(0.0, 1.0, 10))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("count", [None, "3", STATE, 1j, True], ids=lambda x: type(x).__name__)
def test_a_schedule_of_no_count(count):
    expected = "cosine: count must be a number of updates, or an array of such numbers, got"
    with refused(TypeError, f"{expected} {type(count).__name__}"):
        gx.cosine(0.1, 10)(count)


def test_calls_of_a_factory():
    with refused(
        AttributeError, "adam is a function that makes a Transformation, and has no 'init'; call it: adam(…)."
    ):
        anything.adam.init(PARAMS)
    with refused(AttributeError, "has no attribute 'unit'"):
        anything.adam.unit  # noqa: B018
    with refused(TypeError, "it takes learning_rate, b1, b2, eps, *, weight_decay, mask, eps_root"):
        anything.adamw(1e-3, 0.9, 0.99, 1e-8, 0.01)
    with refused(TypeError, "give its parts one by one, with a star before the list"):
        anything.chain([gx.scale(1.0), ADAM])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clip", "module 'gradtx' has no attribute 'clip'; `import gradtx.optax as optax` has Optax's names"),
        ("demo", "module 'gradtx' has no attribute 'demo'; write `import gradtx.demo`"),
        ("adamx", "module 'gradtx' has no attribute 'adamx'; did you mean adamax?"),
        ("nothing_like_it", "module 'gradtx' has no attribute 'nothing_like_it'"),
    ],
)
def test_a_name_that_is_elsewhere(monkeypatch, name, message):
    monkeypatch.delattr(gx, name, raising=False)  # as long as nobody has imported gradtx.demo
    with pytest.raises(AttributeError) as caught:
        getattr(gx, name)
    assert str(caught.value).startswith(message)
    assert (";" in str(caught.value)) == (";" in message)


def test_a_name_that_nobody_has():
    with refused(AttributeError, "module 'gradtx.optax' has no attribute 'adamww', nor has Optax"):
        gradtx.optax.adamww  # noqa: B018


def test_masks():
    with pytest.raises(AttributeError) as caught:
        gx.adamw(0.1, mask=lambda x: x.ndim > 1).init(PARAMS)
    assert any("a function of each array takes (path, array)" in note for note in caught.value.__notes__)
    with refused(
        ValueError, "does not fit the parameters: labels lack ['b'], which is in the parameters (Dict key mismatch)"
    ):
        gradtx.optax.adamw(0.1, mask={"w": True}).init(PARAMS)
    with pytest.raises(ValueError, match="labels is of type list, in the parameters it is dict") as misfit:
        gradtx.optax.adamw(0.1, mask=[True, False]).init(PARAMS)
    assert "Array" not in str(misfit.value)  # never what an array holds
