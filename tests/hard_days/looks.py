"""What one may ask of any transformation and of its state."""

import pickle
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import gradtx as gx


def assert_same_forms(one: Any, other: Any) -> None:
    def form(x: Any) -> Any:
        return (x.shape, x.dtype) if hasattr(x, "dtype") else type(x)

    assert jax.tree.structure(one) == jax.tree.structure(other)
    assert list(map(form, jax.tree.leaves(one))) == list(map(form, jax.tree.leaves(other)))


def as_shapes(tx: Any, state: Any, params: Any) -> None:
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype) if hasattr(x, "dtype") else x, params)
    assert_same_forms(tx.init(shapes), state)


def as_flat(tx: Any, state: Any, params: Any) -> None:
    assert_same_forms(gx.from_flat(tx, params, gx.to_flat(tx, state, params)), state)


def as_config(tx: Any, state: Any, params: Any) -> None:
    assert gx.from_config(gx.to_config(tx)) == tx


def as_pickle(tx: Any, state: Any, params: Any) -> None:
    """Where there is no function in it that is none of a module's."""
    try:
        stored = pickle.dumps(tx)
    except (AttributeError, pickle.PicklingError):
        return
    assert pickle.loads(stored) == tx


def as_numbers(tx: Any, state: Any, params: Any) -> None:
    for path, x in gx.hyperparameters(tx, state).items():
        if isinstance(x, jax.Array | np.generic | float):
            gx.set_hyperparameters(tx, state, **{path: 0.25})
            return


def as_value(tx: Any, state: Any, params: Any) -> None:
    leaves, structure = jax.tree.flatten(tx)
    other = jax.tree.unflatten(structure, leaves)
    assert (other, hash(other), repr(other)) == (tx, hash(tx), repr(tx))


LOOKS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "shapes": as_shapes,
    "flat": as_flat,
    "config": as_config,
    "pickle": as_pickle,
    "numbers": as_numbers,
    "value": as_value,
    "describe": lambda tx, state, params: str(gx.describe(tx)),
    "summary": lambda tx, state, params: str(gx.summary(tx, params)),
    "explain": lambda tx, state, params: str(gx.explain(tx, params)),
    "metrics": lambda tx, state, params: gx.metrics(state),
    "find": lambda tx, state, params: gx.find(state, "mu"),
    "evaluation": lambda tx, state, params: gx.evaluation_parameters(tx, state, params),
    "flush": lambda tx, state, params: gx.flush(tx, state, params),
    "updated": lambda tx, state, params: gx.has_updated(state),
    "shardings": lambda tx, state, params: gx.state_shardings(tx, params),
    "Optax's": lambda tx, state, params: gx.from_optax(tx, params, gx.to_optax(tx, state)),
}
