"""A state as a flat dict whose keys outlive the way in which its transformation is put together."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from gradtx.checkpoints.codes import codec_entries, recode
from gradtx.checkpoints.fit import is_raw, kind_of, with_lost_dtype
from gradtx.checkpoints.quantities import GROUP, Quantity, name_of, name_quantities
from gradtx.checkpoints.sources import agree, beginnings, find_sources, left_over, shortest_names, starts_anew
from gradtx.core.check import is_key
from gradtx.core.combine import chain
from gradtx.core.count import as_weak
from gradtx.core.given import as_jax_arrays
from gradtx.core.paths import list_some
from gradtx.core.transformation import Transformation
from gradtx.values.errors import Refusal, errors_of
from gradtx.values.printing import excerpt

VERSION_KEY = "version"
KEYS_VERSION = 1  # of the form of the keys


def to_flat(tx: Any, state: Any, params: Any = None) -> dict[str, Any]:
    """The arrays of a state by part, quantity and parameter, `scale_by_adam/mu/dense/w`, for a checkpoint from which
    `from_flat` goes on after the optimizer was rearranged.

    The part is the name of the transformation that holds the array, however it is nested, named or wrapped. So `adamw`
    and the chain that it stands for have the same keys, inside of `skip_nonfinite`, of `only` and of a named chain too.
    Of several parts of one name the others are numbered in the order of application, `scale_by_adam#2/mu/dense/w`. The
    groups of a `partition` share no array, and have their parts of one name as one: only numbers that each group has
    for itself are told apart, by the group's arrays, `scale_by_adam/count@dense/b,dense/w`, or without `params` by what
    takes them, `scale_by_adam/count@by_path(pattern='dense')`; a long list is cut, and has a checksum. Below
    `measured/` stands what no update reads, such as the norm in `clip_by_global_norm/measured/norm` and the last number
    of a schedule; below `controlled/` the hyperparameters that live in the state; in `schedule/count` the count that a
    schedule adds. A part of Optax's has the name of the class of its state: `ScaleByAdamState` is `scale_by_adam`; a
    key is no promise that the numbers mean the same, which `from_optax` looks after. A wrapper that does not show where
    it keeps the states of its parts has all of them under its own name. What `hold` has in codes comes as it is, in
    `scale_by_adam/mu/dense/w/codes` and `…/scale`, with the text of its codec as bytes in `…/codec`.

    **Arguments:** `tx`, a transformation, Optax's too; its `state`, of arrays or, for a template, of
    `jax.ShapeDtypeStruct`s; `params`, as for `init`, where the groups of a `partition` are to be known again by another
    one, which takes the same arrays in another order or by other selectors.

    **Returns:** a dict of the arrays as they are, of random keys their data, and the number of this form of keys in
    `version`. It is what Orbax and `np.savez(path, **flat)` save.

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
        keys = {own.index: own.key for own in name_quantities(tx, state, params)}
        named = {key: data_of_key(leaves[i]) for i, key in keys.items()}
    return {VERSION_KEY: np.asarray(KEYS_VERSION, np.int32)} | named | codec_entries(state, keys)


def from_flat(tx: Any, params: Any, flat: Mapping[str, Any], fresh: Collection[str] = ()) -> Any:
    """The state of `tx` for these parameters with the arrays of a dict that `to_flat` made, perhaps of an optimizer
    that was put together in another way. Hyperparameters are those of `tx`.

    Each array of the state must be in the dict, and each of the dict in the state, in one shape. To leave some behind,
    delete them from the dict. These are the exceptions:

    - What is `measured` may be absent and starts anew, so that clipping, `record` and `skip_nonfinite` may come and go.
    - A `controlled` number that is absent starts as `tx` has it.
    - A count of updates may be absent, as where a schedule takes the place of a number. It is then that of the parts
      in the same step, if they agree, or that of the windows of `accumulate`. The count of a schedule that is gone is
      dropped.
    - A number that each group of a `partition` has for itself goes to the group of that name. Where groups have other
      names, or there are none any more, it goes over if all agree. Where there were none, all groups get it.
    - What `hold` has in codes is read by the codec that it came with, and written by that of `tx`.

    **Arguments:** `tx`, a transformation, Optax's too; `params` as for `init`, in the layout that they have now;
    `flat`, a mapping, such as what `np.load(path)` gives; `fresh`, what starts anew, whatever the dict has of it: the
    names of parts that were added, as they stand before the first slash, and keys up to any other one, such as
    `scale_by_adam/mu/head`.

    **Returns:** the state. Its arrays are copies in the dtypes of a fresh state (floats may be converted), and each
    lies where that of a fresh state does. Inside of `jit`, where no numbers are known, counts are taken to agree. For
    parameters given as `jax.ShapeDtypeStruct`s it is its shapes.

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
        fresh_state = structure.unflatten(leaves)
        wanted = name_quantities(whole, fresh_state, params)
        held = recode(held, fresh_state, {own.index: own.key for own in wanted})
        starts = [data_of_key(x) for x in leaves]
        require_places(names, wanted)
        taken = [own for own in wanted if not any(starts_anew(name, names) for name in own.names)]
        found = find_sources(taken, held, starts)
        lacking = [own for own in taken if own not in found and not own.may_be_absent]
        over = left_over(held, found, names)
        arrays = {own: with_lost_dtype(held[key], starts[own.index]) for own, key in found.items()}
        unfit = [line for own, x in arrays.items() if (line := misfit(own.key, x, starts[own.index]))]
        if problems := in_words(lacking, over, unfit, shortest_names(lacking, found)):
            raise Refusal(ValueError, f"the dict does not fit {name_of(tx)}: {'; '.join(problems)}")
        for own, x in arrays.items():
            leaves[own.index] = as_key(place_like(x, starts[own.index]), leaves[own.index])
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
    if agree(version, KEYS_VERSION):
        return held
    got = version if np.shape(version) == () else excerpt(version)
    raise Refusal(ValueError, f"flat is of version {got}, this release of gradtx reads {KEYS_VERSION}")


def require_places(names: set[str], wanted: list[Quantity]) -> None:
    """Refuse names at which the state has nothing."""
    there = {x for own in wanted for x in (*own.names, *beginnings(own.base))}
    if unknown := names - there:
        known = list_some(sorted({own.part for own in wanted})) or "none with a state"
        raise Refusal(ValueError, f"fresh names {list_some(sorted(unknown))}, the parts of tx are {known}")


def names_in(fresh: Any) -> set[str]:
    names: list[Any] = list(fresh) if isinstance(fresh, Iterable) and not isinstance(fresh, str) else [None]
    if not all(isinstance(name, str) for name in names):
        raise Refusal(TypeError, f"fresh must be names of parts, as in fresh=['accumulate'], got {excerpt(fresh)}")
    return set(names)


# ---- arrays ----


def misfit(key: str, x: Any, start: Any) -> str | None:
    """Why an array can't be that of the state, in words."""
    if not (hasattr(x, "shape") and hasattr(x, "dtype")):
        return f"{key} is no array but {excerpt(x)}"
    if isinstance(x, jax.ShapeDtypeStruct) and not isinstance(start, jax.ShapeDtypeStruct):
        return f"{key} is the shape of an array and has no numbers"
    if x.shape == start.shape and kind_of(x.dtype) == kind_of(start.dtype):
        return None
    remedy = " (of which dtype, NumPy has not kept: view it as that first)" if is_raw(x) else ""
    return f"{key} is {excerpt(x)}, expected {excerpt(start)}{remedy}"


def data_of_key(x: Any) -> Any:
    """The numbers of a random key, which can be saved; anything else as it is."""
    if not is_key(x):
        return x
    return jax.eval_shape(jax.random.key_data, x) if isinstance(x, jax.ShapeDtypeStruct) else jax.random.key_data(x)


def as_key(x: Any, start: Any) -> Any:
    """What a fresh state has there: a random key of its kind or the array itself."""
    if not is_key(start):
        return x
    if isinstance(start, jax.ShapeDtypeStruct):
        return start
    return jax.random.wrap_key_data(x, impl=jax.random.key_impl(start))


def in_words(lacking: list[Quantity], over: list[str], unfit: list[str], fresh: list[str]) -> list[str]:
    """All problems, and behind them what can be done."""
    said: list[str] = []
    if lacking:
        said.append(f"it lacks {list_some(own.key for own in lacking)}")
    if over:
        said.append(f"nothing in tx takes {list_some(over)}")
    said += [list_some(unfit)] if unfit else []
    if lacking:
        said.append(f"what starts anew is named in fresh=[{list_some(map(repr, fresh))}]")
    if over:
        said.append("what is to be left behind is deleted from the dict")
    if any(GROUP in key for key in over):
        said.append(f"what another group is to have is renamed behind its {GROUP}")
    return said


def place_like(x: Any, start: Any) -> Any:
    """A copy of an array in the dtype of another one, where that one lies."""
    if isinstance(start, jax.ShapeDtypeStruct):
        return start
    x = x.astype(start.dtype)
    if isinstance(x, Tracer) or isinstance(start, Tracer):
        placed = jnp.asarray(x)  # which lies where the compiler lays it
        return as_weak(placed) if start.weak_type else placed
    anywhere = not start.committed and not getattr(x, "committed", False)
    placed = jax.device_put(x, None if anywhere else start.sharding, may_alias=False)
    return as_weak(placed) if start.weak_type and not placed.weak_type else placed
