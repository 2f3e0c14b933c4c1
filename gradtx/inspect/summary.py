"""What a state is made of, and how much memory it takes."""

import math
from collections.abc import Iterator
from typing import Any

import jax
import optax

from gradtx.core.rule import Keys
from gradtx.core.transformation import Transformation
from gradtx.core.walk import Node, walk
from gradtx.inspect.report import Document, as_table
from gradtx.values.errors import Refusal, errors_of
from gradtx.values.printing import excerpt
from gradtx.values.value import text_of

NUMBER_TYPES = int | float | complex


def summary(tx: Any, params: Any) -> Document:
    """The state of a transformation by part: arrays, dtypes, bytes, and bytes per parameter, that is per number in
    `params`. Nothing is computed, and no memory is taken.

    **Arguments:** `tx`, a transformation, Optax's too; `params` as `init` takes them, a `jax.ShapeDtypeStruct` being as
    good as an array.

    **Returns:** what prints as text, and what a notebook shows as Markdown. A part's place is how it is read from the
    state.

    **Raises:** `TypeError` for what is no transformation; what `init` refuses.

    >>> import gradtx, jax
    >>> params = {"w": jax.ShapeDtypeStruct((64, 10), "float32"), "b": jax.ShapeDtypeStruct((10,), "float32")}
    >>> gradtx.summary(gradtx.chain(gradtx.scale(0.5), gradtx.adam(1e-3)), params)
    chain: the state for 650 parameters
    <BLANKLINE>
    part                    place                      arrays  dtypes   bytes  bytes/parameter
    ------------------------------------------------------------------------------------------
    scale                   state[0]                        0               0             0.00
    scale_by_adam           state[1][0].count               1  int32        4             0.01
                            state[1][0].mu                  2  float32  2,600             4.00
                            state[1][0].nu                  2  float32  2,600             4.00
    scale_by_learning_rate  state[1][1].count               1  int32        4             0.01
                            state[1][1].learning_rate       1  float32      4             0.01
    ------------------------------------------------------------------------------------------
    total                                                   7           5,212             8.02
    """
    with errors_of("summary"):
        if not isinstance(tx, optax.GradientTransformation):
            raise Refusal(TypeError, f"tx must be a transformation, got {type(tx).__name__} {excerpt(tx)}")
    state = abstract_state("summary", tx, params)
    owners = {node.keys: node for node in walk(tx, state)}  # of a composition and what it is made of, the latter
    places = list(list_quantities(state, "state", (), "", owners, jax.tree.structure(params)))
    count = sum(math.prod(x.shape) if has_shape(x) else isinstance(x, NUMBER_TYPES) for x in jax.tree.leaves(params))

    def cells(arrays: list[Any]) -> list[Any]:
        dtypes = ", ".join(sorted({str(x.dtype) for x in arrays}))
        size = sum(x.size * x.dtype.itemsize for x in arrays)
        return [len(arrays), dtypes, size, size / max(count, 1)]

    body: list[list[Any]] = []
    before = ""
    for part, place, arrays in places:
        body.append(["" if part == before else part, place, *cells(arrays)])
        before = part
    name = tx.recipe.__name__ if isinstance(tx, Transformation) else text_of(tx)
    head = ["part", "place", "arrays", "dtypes", "bytes", "bytes/parameter"]
    arrays, _, *sizes = cells(jax.tree.leaves(state))
    return as_table(f"{name}: the state for {count:,} parameters", head, body, ["total", "", arrays, "", *sizes])


def abstract_state(call: str, tx: Any, params: Any) -> Any:
    """The state as `init` makes it, with shapes in the place of arrays."""
    leaves, structure = jax.tree.flatten(params)
    abstract = [i for i, x in enumerate(leaves) if has_shape(x)]

    def init(arrays: list[Any]) -> Any:
        filled = dict(enumerate(leaves)) | dict(zip(abstract, arrays, strict=True))
        return tx.init(structure.unflatten(filled.values()))

    try:
        return jax.eval_shape(init, [leaves[i] for i in abstract])
    except (TypeError, ValueError) as error:
        error.args = (f"{call}: {error}",)
        raise


def has_shape(x: Any) -> bool:
    return hasattr(x, "shape") and hasattr(x, "dtype")


def list_quantities(
    x: Any, place: str, keys: Keys, part: str, owners: dict[Keys, Node], like: Any
) -> Iterator[tuple[str, str, list[Any]]]:
    """The quantities of a state, down to what is a tree like the parameters or holds no more parts."""
    if keys in owners:
        tx = owners[keys].tx
        part = tx.recipe.__name__ if isinstance(tx, Transformation) else text_of(tx)
    own = dict.fromkeys(longer[len(keys)] for longer in owners if longer[: len(keys)] == keys and longer != keys)
    inside: list[tuple[str, Any, Any]] = []
    if own or jax.tree.structure(x) != like:
        if isinstance(x, dict):  # of a chain with names, in its order
            inside = [(f"[{key!r}]", key, x[key]) for key in own]
        elif isinstance(x, tuple) and (names := getattr(x, "_fields", ())):
            inside = [(f".{name}", name, getattr(x, name)) for name in names]
        elif isinstance(x, tuple):
            inside = [(f"[{i}]", i, y) for i, y in enumerate(x)]
    found = [
        row for word, key, y in inside for row in list_quantities(y, place + word, (*keys, key), part, owners, like)
    ]
    if found:
        yield from found
    elif jax.tree.leaves(x) or keys in owners:
        yield part, place, jax.tree.leaves(x)
