"""Finding one's way in a state: one quantity of it by its name, and all that was measured."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import jax
import optax
from jax.tree_util import GetAttrKey, keystr, tree_flatten_with_path

from gradtx.core.paths import list_some
from gradtx.values.errors import Refusal, errors_of
from gradtx.values.printing import excerpt

KeyPath = tuple[Any, ...]


def find(state: Any, name: str) -> Any:
    """The one part of a state that has a name, wherever it stands: `find(state, "mu")`.

    A name is that of a field or of a named part; where several have it, their paths, such as `adam/mu` or `0/count`,
    or the last names of these, tell them apart.

    **Raises:** `TypeError` for a transformation, which has no numbers yet, and a name that is no string, `ValueError`
    where nothing or several have it: the message lists the candidates.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.chain(direction=gradtx.scale_by_adam(), rate=gradtx.scale_by_learning_rate(0.1))
    >>> state = tx.init(jnp.zeros(2))
    >>> gradtx.find(state, "mu"), int(gradtx.find(state, "rate/count"))
    (Array([0., 0.], dtype=float32), 0)
    """
    with errors_of("find"):
        require_no_transformation(state)
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # users may not check their types
            raise Refusal(TypeError, f"name must be a string, got {type(name).__name__}")
        parts = {as_path(keys): part for keys, part in states_by_path(state)}
        found = [path for path in parts if path == name] or [path for path in parts if path.endswith("/" + name)]
        if len(found) != 1:
            candidates = list_some(found or sorted(parts, key=lambda path: path.count("/")))
            problem = f"the state has several {name!r}" if found else f"the state has no {name!r}"
            raise Refusal(ValueError, f"{problem}, candidates are: {candidates or 'none'}")
    return parts[found[0]]


def metrics(state: Any) -> dict[str, jax.Array]:
    """All that the parts of a transformation measured in its last update, by name: scalars, for a log.

    From `init` on the names are the same, so that it may be what a `scan` collects. Known names are `count` and
    `learning_rate` (of `scale_by_learning_rate`, with which the first-order optimizers end: the rate of the last step,
    of a constant as of a schedule, which `find(state, "learning_rate")` finds too), `norm`, `clipped_norm` and
    `clipped` (of clipping), `skipped` and its counts (of `skip_nonfinite` and `skip_spikes`), `linesearch_succeeded`
    and `linesearch_error` (of `scale_by_zoom_linesearch`), and those given to `record`. Where several parts have a
    name, it comes with the path of each: `0/norm`, `2/norm`. A state takes part in it with a property `metrics` that
    returns a dict of scalars.

    **Raises:** `TypeError` for a transformation, which has measured nothing.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.sgd(0.1))
    >>> _, state = tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)))
    >>> {name: round(float(x), 3) for name, x in gradtx.metrics(state).items()}
    {'norm': 5.0, 'clipped_norm': 1.0, 'clipped': 1.0, 'count': 1.0, 'learning_rate': 0.1}
    """
    with errors_of("metrics"):
        require_no_transformation(state)
    # A framework may have put a variable around an array.
    rows = [
        (keys, name, jax.tree.leaves(x)[0])
        for keys, node in states_with_metrics(state)
        for name, x in node.metrics.items()
    ]
    times = Counter(name for _, name, _ in rows)
    return {name if times[name] == 1 else as_path((*keys, GetAttrKey(name))): x for keys, name, x in rows}


def require_no_transformation(state: Any) -> None:
    if isinstance(state, optax.GradientTransformation):
        got = f"{type(state).__name__} {excerpt(state)}"
        raise Refusal(TypeError, f"state must be what init or update returned, got {got}; give the state of it")


def states_by_path(state: Any, keys: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every part of a state with its path."""
    rows, _ = tree_flatten_with_path(state, is_leaf=lambda x: x is not state)
    for step, part in rows:
        if step:
            yield (*keys, *step), part
            yield from states_by_path(part, (*keys, *step))


def states_with_metrics(state: Any, keys: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every state that has metrics, with its path; one may stand inside of another."""
    for step, node in tree_flatten_with_path(state, is_leaf=has_metrics)[0]:
        if has_metrics(node):
            yield (*keys, *step), node
            for name, field in zip(node._fields, node, strict=True):
                yield from states_with_metrics(field, (*keys, *step, GetAttrKey(name)))


def has_metrics(x: Any) -> bool:
    return isinstance(x, tuple) and isinstance(getattr(type(x), "metrics", None), property)


def as_path(keys: KeyPath) -> str:
    return keystr(keys, simple=True, separator="/")
