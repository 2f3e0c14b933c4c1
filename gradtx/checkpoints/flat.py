"""A state as a flat dict whose keys outlive the way in which its transformation is put together."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gradtx.checkpoints.quantities import MEASURED, SCHEDULE, Quantity, name_of, name_quantities
from gradtx.core.check import as_jax_arrays
from gradtx.core.combine import chain
from gradtx.core.count import as_weak
from gradtx.core.paths import list_some
from gradtx.core.transformation import Transformation
from gradtx.values.errors import Refusal, errors_of
from gradtx.values.printing import excerpt

VERSION_KEY = "version"
KEYS_VERSION = 1  # of the form of the keys


def to_flat(tx: Any, state: Any) -> dict[str, Any]:
    """The arrays of a state by part, quantity and parameter, `scale_by_adam/mu/dense/w`, for a checkpoint from which
    `from_flat` goes on after the optimizer was rearranged.

    The part is the name of the transformation that holds the array, however it is nested, named or wrapped. So `adamw`
    and the chain that it stands for have the same keys, inside of `skip_nonfinite`, of `only` and of a named chain too.
    Of several parts of one name the others are numbered in the order of application, `scale_by_adam#2/mu/dense/w`. The
    groups of a `partition` share no array, and have their parts of one name as one: only numbers that each group has
    are told apart, `scale_by_adam/count#2`. Below `measured/` stands what no update reads, such as the norm in
    `clip_by_global_norm/measured/norm` and the last number of a schedule; below `controlled/` the hyperparameters that
    live in the state; in `schedule/count` the count that a schedule adds. A part of Optax's has the name of the class
    of its state: `ScaleByAdamState` is `scale_by_adam`; a key is no promise that the numbers mean the same, which
    `from_optax` looks after. A wrapper that does not show where it keeps the states of its
    parts has all of them under its own name.

    **Arguments:** `tx`, a transformation, Optax's too; its `state`, of arrays or, for a template, of
    `jax.ShapeDtypeStruct`s.

    **Returns:** a dict of the arrays as they are, and the number of this form of keys in `version`. It is what Orbax
    and `np.savez(path, **flat)` save.

    **Raises:** `TypeError` for what is no transformation, `TypeError` and `ValueError` where the state shows that it
    is another optimizer's.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.chain(descent=gradtx.sgd(0.1, momentum=0.9))
    >>> sorted(gradtx.to_flat(tx, tx.init({"w": jnp.zeros(2)})))  # doctest: +NORMALIZE_WHITESPACE
    ['scale_by_learning_rate/count', 'scale_by_learning_rate/measured/learning_rate',
     'scale_by_momentum/trace/w', 'version']
    """
    with errors_of("to_flat"):
        require_any_transformation(tx)
        leaves = jax.tree.leaves(state)
        named = {own.key: leaves[own.index] for own in name_quantities(tx, state)}
    return {VERSION_KEY: np.asarray(KEYS_VERSION, np.int32)} | named


def from_flat(tx: Any, params: Any, flat: Mapping[str, Any], fresh: Collection[str] = ()) -> Any:
    """The state of `tx` for these parameters with the arrays of a dict that `to_flat` made, perhaps of an optimizer
    that was put together in another way. Hyperparameters are those of `tx`.

    Each array of the state must be in the dict, and each of the dict in the state, in one shape. Exceptions are few:
    what is `measured` may be absent, so that clipping, `record` and `skip_nonfinite` may come and go, and starts anew.
    A `controlled` number that is absent starts as `tx` has it. A count of updates that is absent, as where a schedule
    takes the place of a number, is that of the parts that are in the same step, if these agree; that of a schedule
    which is gone may be left over. A number that each group of a `partition` has may be that of the first.

    **Arguments:** `tx`, a transformation, Optax's too; `params` as for `init`, in the layout that they have now;
    `flat`, a mapping, such as what `np.load(path)` gives; `fresh`, the names of parts, as they stand before the first
    slash, that start anew, whatever the dict has of them: those that were added.

    **Returns:** the state. Its arrays are copies in the dtypes of a fresh state (floats may be converted), and each
    lies where that of a fresh state does. For parameters given as `jax.ShapeDtypeStruct`s it is its shapes.

    **Raises:** `ValueError` for a dict that `to_flat` did not make, and where arrays are missing, left over, or of
    another shape or kind: one error names all of them. `TypeError` for what is no transformation, no mapping or no
    collection of names. What `init` refuses.

    >>> import gradtx, jax.numpy as jnp
    >>> w = {"w": jnp.ones(2)}
    >>> before = gradtx.chain(gradtx.scale_by_adam(), gradtx.scale_by_learning_rate(0.1))
    >>> _, state = before.update(w, before.init(w), w)
    >>> tx = gradtx.accumulate(gradtx.adam(gradtx.cosine(0.1, 100)), 4)
    >>> state = gradtx.from_flat(tx, w, gradtx.to_flat(before, state), fresh=["accumulate"])
    >>> int(gradtx.find(state, "inner_state/1/count")), int(state.mini_step)
    (1, 0)
    """
    with errors_of("from_flat"):
        require_any_transformation(tx)
        held, names = require_entries(flat), names_in(fresh)
    whole = tx if isinstance(tx, Transformation) else chain(tx)  # which takes all kinds of parameters
    leaves, structure = jax.tree.flatten(as_jax_arrays(whole.init(params)))
    with errors_of("from_flat"):
        wanted = name_quantities(whole, structure.unflatten(leaves))
        parts = {own.part for own in wanted}
        if unknown := names - parts:
            known = list_some(sorted(parts)) or "none with a state"
            raise Refusal(ValueError, f"fresh names {list_some(sorted(unknown))}, the parts of tx are {known}")
        taken = [own for own in wanted if own.part not in names]
        found = {own: held[key] for own in taken if (key := find_key(own, held, taken, leaves)) is not None}
        lacking = [own for own in taken if own not in found and not own.may_be_absent]
        over = left_over(held, {own.key for own in taken}, names)
        unfit = [line for own, x in found.items() if (line := misfit(own.key, x, leaves[own.index]))]
        if problems := in_words(lacking, over, unfit):
            raise Refusal(ValueError, f"the dict does not fit {name_of(tx)}: {'; '.join(problems)}")
        for own, x in found.items():
            leaves[own.index] = place_like(x, leaves[own.index])
    state = structure.unflatten(leaves)
    return state if whole is tx else state[0]


# ---- what comes in ----


def require_any_transformation(tx: Any) -> None:
    if not isinstance(tx, optax.GradientTransformation):
        raise Refusal(TypeError, f"tx must be a transformation, got {type(tx).__name__} {excerpt(tx)}")


def require_entries(flat: Any) -> dict[str, Any]:
    """The arrays of a dict in a form that this release reads."""
    if not isinstance(flat, Mapping):
        raise Refusal(TypeError, f"flat must be a mapping of keys to arrays, got {type(flat).__name__} {excerpt(flat)}")
    held = dict(flat)
    if odd := [excerpt(key) for key in held if not isinstance(key, str)]:
        raise Refusal(TypeError, f"the keys of flat must be strings, got {list_some(odd)}")
    if VERSION_KEY not in held:
        remedy = f"so to_flat did not make it; it has {list_some(held) or 'nothing'}"
        raise Refusal(ValueError, f"flat has no {VERSION_KEY!r}, {remedy}")
    version = held.pop(VERSION_KEY)
    if isinstance(version, jax.ShapeDtypeStruct) or np.array_equal(version, KEYS_VERSION):
        return held
    got = version if np.shape(version) == () else excerpt(version)
    raise Refusal(ValueError, f"flat is of version {got}, this release of gradtx reads {KEYS_VERSION}")


def names_in(fresh: Any) -> set[str]:
    names: list[Any] = list(fresh) if isinstance(fresh, Iterable) and not isinstance(fresh, str) else [None]
    if not all(isinstance(name, str) for name in names):
        raise Refusal(TypeError, f"fresh must be names of parts, as in fresh=['accumulate'], got {excerpt(fresh)}")
    return set(names)


# ---- what is taken from where ----


def find_key(own: Quantity, held: dict[str, Any], taken: list[Quantity], leaves: list[Any]) -> str | None:
    """The key in the dict of what an array of the state is taken from; None where there is none."""
    if own.key in held:
        return own.key
    if own.first in held and not np.shape(leaves[own.index]):
        return own.first
    if own.clock is not None:
        counts = [x.key for x in taken if x.clock == own.clock and x.key in held]
        if counts and all(agree(held[key], held[counts[0]]) for key in counts):
            return counts[0]
    return None


def agree(a: Any, b: Any) -> bool:
    """Whether two numbers are equal; of their shapes alone nobody can tell."""
    return jax.ShapeDtypeStruct in (type(a), type(b)) or bool(np.array_equal(a, b))


def left_over(held: dict[str, Any], taken: set[str], fresh: set[str]) -> list[str]:
    """The keys that are nobody's, but for those that may be."""

    def may_go(key: str) -> bool:
        part, _, rest = key.partition("/")
        if part in fresh or rest.startswith(f"{MEASURED}/") or rest.partition("#")[0] == f"{SCHEDULE}/count":
            return True
        first = key.rpartition("#")[0]  # the same number of an earlier group
        return first in held and np.shape(held[key]) == np.shape(held[first]) == () and agree(held[key], held[first])

    return [key for key in held if key not in taken and not may_go(key)]


def misfit(key: str, x: Any, start: Any) -> str | None:
    """Why an array can't be that of the state, in words."""
    if not (hasattr(x, "shape") and hasattr(x, "dtype")):
        return f"{key} is no array but {excerpt(x)}"
    if isinstance(x, jax.ShapeDtypeStruct) and not isinstance(start, jax.ShapeDtypeStruct):
        return f"{key} is the shape of an array and has no numbers"
    if x.shape == start.shape and (is_raw(x, start) or kind_of(x) == kind_of(start)):
        return None
    return f"{key} is {excerpt(x)}, expected {excerpt(start)}"


def kind_of(x: Any) -> Any:
    """What its numbers are; of these, dtypes are converted."""
    kinds = (jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating)
    return next((kind for kind in kinds if jnp.issubdtype(x.dtype, kind)), x.dtype)


def is_raw(x: Any, start: Any) -> bool:
    """Whether it is an array of a dtype that NumPy has no name for, such as bfloat16, as `np.savez` gives it back."""
    return x.dtype.type is np.void and x.dtype.itemsize == start.dtype.itemsize and start.dtype.kind == "V"


def in_words(lacking: list[Quantity], over: list[str], unfit: list[str]) -> list[str]:
    """All problems, and behind them what can be done."""
    said: list[str] = []
    if lacking:
        said.append(f"it lacks {list_some(own.key for own in lacking)}")
    if over:
        said.append(f"nothing in tx takes {list_some(over)}")
    said += [list_some(unfit)] if unfit else []
    if lacking:
        names = ", ".join(map(repr, dict.fromkeys(own.part for own in lacking)))
        said.append(f"parts that start anew are named in fresh=[{names}]")
    if over:
        said.append("what is to be left behind is deleted from the dict")
    return said


def place_like(x: Any, start: Any) -> Any:
    """A copy of an array in the dtype of another one, where that one lies."""
    if isinstance(start, jax.ShapeDtypeStruct):
        return start
    x = x.view(start.dtype) if is_raw(x, start) else x.astype(start.dtype)
    anywhere = not start.committed and not getattr(x, "committed", False)
    placed = jax.device_put(x, None if anywhere else start.sharding, may_alias=False)
    return as_weak(placed) if start.weak_type and not placed.weak_type else placed
