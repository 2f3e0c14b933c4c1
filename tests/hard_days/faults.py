"""What may be wrong with a step: gradients, states and parameters that do not fit, and arguments that are missing."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gradtx as gx


class Step(NamedTuple):
    """What an update is given."""

    gradients: Any
    state: Any
    params: Any
    extra: dict[str, Any]


def change_one(tree: Any, change: Callable[[Any], Any], which: int) -> Any:
    """The tree with one of its arrays changed."""
    leaves, structure = jax.tree.flatten(tree)
    arrays = [i for i, x in enumerate(leaves) if isinstance(x, jax.Array)]
    if arrays:
        i = arrays[which % len(arrays)]
        leaves[i] = change(leaves[i])
    return structure.unflatten(leaves)


def of_gradient(change: Callable[[Any], Any]) -> Callable[[Step, int], Step]:
    return lambda step, which: step._replace(gradients=change_one(step.gradients, change, which))


def of_state(change: Callable[[Any], Any]) -> Callable[[Step, int], Step]:
    return lambda step, which: step._replace(state=change_one(step.state, change, which))


def of_params(change: Callable[[Any], Any]) -> Callable[[Step, int], Step]:
    return lambda step, which: step._replace(params=change_one(step.params, change, which))


def of_extra(**others: Any) -> Callable[[Step, int], Step]:
    return lambda step, which: step._replace(extra=step.extra | others)


def filled_with(number: float) -> Callable[[Any], Any]:
    return lambda x: jnp.full_like(x, number) if jnp.issubdtype(x.dtype, jnp.inexact) else x


def as_large_as_can_be(x: Any) -> Any:
    return jnp.full_like(x, 0.9 * float(jnp.finfo(x.dtype).max))


def with_shape(x: Any) -> Any:
    return jnp.zeros((*x.shape, 2), x.dtype)


def with_first_axis(x: Any) -> Any:
    """As one gradient for each of two examples."""
    return jnp.zeros((2, *x.shape), x.dtype)


def other_kind(x: Any) -> Any:
    return x.real if jnp.iscomplexobj(x) else x + 0j if jnp.issubdtype(x.dtype, jnp.inexact) else x


def without_one(tree: Any, which: int) -> Any:
    """The tree with a child less."""
    if isinstance(tree, dict) and tree:
        gone = list(tree)[which % len(tree)]
        return {name: x for name, x in tree.items() if name != gone}
    return tree[1:] if type(tree) in (tuple, list) else ()


# Numbers that may come up in a step which is right.
NUMBERS: dict[str, Callable[[Step, int], Step]] = {
    "nothing": lambda step, which: step,
    "NaN": of_gradient(filled_with(jnp.nan)),
    "infinity": of_gradient(filled_with(-jnp.inf)),
    "zeros": of_gradient(jnp.zeros_like),
    "huge": of_gradient(as_large_as_can_be),
    "None in the place of a gradient": of_gradient(lambda x: None),
    "NumPy's arrays": lambda step, which: with_numpy(step),
}

WRONG: dict[str, Callable[[Step, int], Step]] = {
    "no params": lambda step, which: step._replace(params=None),
    "no extra arguments": lambda step, which: step._replace(extra={}),
    "shape": of_gradient(with_shape),
    "examples": of_gradient(with_first_axis),
    "kind": of_gradient(other_kind),
    "integers": of_gradient(lambda x: jnp.zeros(x.shape, jnp.int32)),
    "flags": of_gradient(lambda x: jnp.zeros(x.shape, bool)),
    "key": of_gradient(lambda x: jax.random.key(0)),
    "word": of_gradient(lambda x: "a word"),
    "words of NumPy's": of_gradient(lambda x: np.array(["a", "b"])),
    "function": of_gradient(lambda x: jnp.sin),
    "number": of_gradient(lambda x: 1.0),
    "tree in the place of an array": of_gradient(lambda x: {"deeper": x}),
    "child less": lambda step, which: step._replace(gradients=without_one(step.gradients, which)),
    "child more": lambda step, which: step._replace(gradients={"more": step.gradients}),
    "params of a child less": lambda step, which: step._replace(params=without_one(step.params, which)),
    "params of another shape": of_params(with_shape),
    "params with None": of_params(lambda x: None),
    "params with a word": of_params(lambda x: "a word"),
    "params of another kind": of_params(other_kind),
    "state of another optimizer": lambda step, which: step._replace(state=gx.adam(0.1).init({"w": jnp.zeros(2)})),
    "no state": lambda step, which: step._replace(state=((), None, {}, jnp.zeros(2), 3)[which % 5]),
    "state of a child less": lambda step, which: step._replace(state=without_one(step.state, which)),
    "state with an array of another shape": of_state(with_shape),
    "state with None": of_state(lambda x: None),
    "state with a word": of_state(lambda x: "a word"),
    "state with a tree": of_state(lambda x: (x, x)),
    "value of a word": of_extra(value="a word"),
    "value of an array": of_extra(value=jnp.ones(3)),
    "complex value": of_extra(value=1j),
    "None for a value": of_extra(value=None),
    "loss that is none": of_extra(value_fn=3, loss_fn=3),
    "gradient that is none": of_extra(grad=None),
    "unknown argument": of_extra(vlaue=1.0, other=None),
}


def with_numpy(step: Step) -> Step:
    gradients, state, params = jax.tree.map(as_numpy, (step.gradients, step.state, step.params))
    return Step(gradients, state, params, step.extra)


def as_numpy(x: Any) -> Any:
    known = isinstance(x, jax.Array) and not jnp.issubdtype(x.dtype, jax.dtypes.extended)
    return np.asarray(x) if known else x
