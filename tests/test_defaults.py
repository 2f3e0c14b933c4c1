"""Names that gradtx shares with Optax and that do otherwise when called alike: their docstrings say so at once."""

import inspect
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from gradtx.values.recipe import Recipe

pytestmark = pytest.mark.slow  # formulas do not turn on versions
GIVEN = {"learning_rate": 0.1, "decay": 0.9, "weight_decay": 0.1, "max_norm": 0.5, "step_size": 2.0, "factor": 2.0}
GIVEN |= {"max_linesearch_steps": 20}
THEIRS = vars(optax.contrib) | vars(optax)
ROUNDED = {"adafactor", "scale_by_factored_rms", "madgrad"}  # in Optax, where a function of the count is in float32
SAYS = re.compile(r"Optax's default is `([^`]+)`")  # and what it says is gradtx's call that equals it
UNLIKE = "No call of it equals Optax's"  # where neither has the other's rule
TURNS = re.compile(r"Optax's equals it with `([^`]+)`")  # where no argument of gradtx does


def loss(w):
    return jnp.sum(jnp.array([1.0, 10.0, 1e-6]) * (w - 1.0) ** 2)


FURTHER = {"sophia": dict(loss_fn=loss, obj_fn=loss)}  # what they take, each under its own name


def path(tx, sign, **more):
    """Ten steps on a small problem: one coordinate has no gradient at first, and one a gradient like epsilon."""
    w = jnp.array([3.0, 1.0, -2.0])
    state, found, tx = tx.init(w), [], optax.with_extra_args_support(tx)

    @jax.jit
    def update(w, state):
        value, grad = jax.value_and_grad(loss)(w)
        return tx.update(sign * grad, state, w, value=value, grad=grad, value_fn=loss, **more)

    for _ in range(10):
        updates, state = update(w, state)
        found.append(updates)
        w = w - 0.01 * jnp.sign(w - 0.9)  # the same way for both
    return np.stack(found)


def required(factory: Any) -> dict[str, Any] | None:
    """What has to be given, and None where that is no number."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(factory).parameters.values()
    names = [p.name for p in parameters if p.default is p.empty]
    several = any(p.kind in kinds for p in parameters)
    return None if several or not GIVEN.keys() >= set(names) else {name: GIVEN[name] for name in names}


def shared() -> dict[str, tuple[Any, Any]]:
    """The factories of transformations of one name."""
    pairs = {name: (getattr(gx, name), THEIRS[name]) for name in gx.__all__ if callable(THEIRS.get(name))}
    return {name: (ours, theirs) for name, (ours, theirs) in pairs.items() if isinstance(ours, Recipe)}


def first_paragraph(name: str) -> str:
    return " ".join(inspect.cleandoc(getattr(gx, name).factory.__doc__).split("\n\n")[0].split())


COMPARED = {
    name: (ours, theirs)
    for name, (ours, theirs) in shared().items()
    if required(ours) is not None and required(theirs) is not None
}


def made(factory: Any, beside: Any, **options: Any) -> Any:
    """What the factory makes of numbers that it or its counterpart can't do without."""
    names = inspect.signature(factory).parameters
    given = (required(factory) or {}) | (required(beside) or {})
    return factory(**{name: x for name, x in given.items() if name in names} | options)


def of_ours(name: str, **options: Any) -> Any:
    ours, theirs = COMPARED[name]
    return made(ours, theirs, **options)


def of_theirs(name: str, **options: Any) -> Any:
    ours, theirs = COMPARED[name]
    return made(theirs, ours, **options)


def assert_same(name: str, ours: Any, theirs: Any) -> None:
    sign = -1.0 if "linesearch" in name else 1.0  # which goes along the updates, and not against them
    more = FURTHER.get(name, {})
    found, expected = path(ours, sign, **more), path(theirs, sign, **more)
    np.testing.assert_allclose(found, expected, rtol=1e-7 if name in ROUNDED else 1e-9, atol=1e-14)


@pytest.mark.filterwarnings("ignore:.optimistic_adam. is deprecated")
@pytest.mark.parametrize("name", COMPARED)
def test_it_does_as_optax_does_or_says_in_its_first_paragraph_what_equals_it(name):
    said, turned = (pattern.search(first_paragraph(name)) for pattern in (SAYS, TURNS))
    if UNLIKE in first_paragraph(name):
        with pytest.raises((AssertionError, ValueError), match=r"Not equal|has no axis"):
            assert_same(name, of_ours(name), of_theirs(name))
        return
    if said is None and turned is None:
        assert_same(name, of_ours(name), of_theirs(name))
        return
    with pytest.raises(AssertionError, match="Not equal"):  # it says so for a reason
        assert_same(name, of_ours(name), of_theirs(name))
    if turned is not None:
        assert_same(name, of_ours(name), of_theirs(name, **eval(f"dict({turned[1]})")))
    if said is None:
        return
    if "(" in said[1]:
        assert_same(name, eval(said[1], vars(gx) | GIVEN), of_theirs(name))
    else:
        assert_same(name, of_ours(name, **eval(f"dict({said[1]})")), of_theirs(name))


@pytest.mark.parametrize("name", shared())
def test_another_default_of_the_same_argument_is_named(name):
    ours, theirs = ({k: p.default for k, p in inspect.signature(f).parameters.items()} for f in shared()[name])
    empty = inspect.Parameter.empty
    both = [k for k in ours if k in theirs and empty not in (ours[k], theirs[k])]
    for default in (theirs[k] for k in both if ours[k] != theirs[k]):
        numbers = map(float, re.findall(r"\d[\d.]*(?:e-?\d+)?", first_paragraph(name)))
        assert default in numbers if isinstance(default, float) else f"`{default}`" in first_paragraph(name)


def test_what_is_compared():
    differing = {name for name in COMPARED if SAYS.search(first_paragraph(name)) or TURNS.search(first_paragraph(name))}
    assert {"adagrad", "rmsprop", "adadelta", "amsgrad", "adamax", "ema"} <= differing
    assert {"sgd", "adam", "adamw", "nadam", "lion", "lbfgs", "clip_by_global_norm"} <= COMPARED.keys() - differing
