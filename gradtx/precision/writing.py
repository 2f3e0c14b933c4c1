"""How parameters of 16 bits become others: a formula of the wide update, the parameter and what is kept beside it."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gradtx.core import check
from gradtx.core.count import increment
from gradtx.core.flow import Flow
from gradtx.core.keys import make_key
from gradtx.core.lift import init_array, next_column
from gradtx.core.rule import Rule
from gradtx.core.stage import LEFT_OUT, Fields
from gradtx.precision.rounding import keys_for
from gradtx.values.errors import Refusal

Formula = Callable[[jax.Array, Any, jax.Array, Any], tuple[jax.Array, Fields]]
HALVES = (jnp.bfloat16, jnp.float16)


def writing(
    state_type: Any,
    init: Callable[..., Fields],
    formula: Formula,
    key: Any = None,
    dtypes: tuple[Any, ...] = HALVES,
    remedy: str = "",
) -> Rule:
    """The rule of `formula(u, row, w, dtype) -> (next, fields)`, which says what a parameter of this dtype is next, as
    a float32 array of numbers that the dtype has. `row` holds the fields that `init(w, dtype)` starts with, one array
    each; where there is a `key`, that of the array at this step stands in the place of the count.

    What comes out is $w' - w$ as it was computed, in at least float32, and adding that to $w$ gives $w'$ to the bit.
    Where both are of like size, their difference has few bits; where $w'$ is some $2^{16}$ times smaller, it is what is
    left of a sum in float32 of numbers like $w$, a multiple of the last place of these. Parameters of 32 bits and more
    get the update as it is, and have no fields.
    """
    names = [name for name in state_type._fields if name != "count"]

    def start(params: Any) -> Any:
        leaves, structure = jax.tree.flatten(params, is_leaf=check.is_none)
        rows: list[Fields] = [dict.fromkeys(names)] * len(leaves)  # pyright: ignore[reportAssignmentType]
        for i, p in enumerate(leaves):
            if p is not None and is_half(p, params, i):
                rows[i] = init_array(functools.partial(init, dtype=p.dtype), p)
        fields: Any = {name: structure.unflatten([row[name] for row in rows]) for name in names}
        return state_type(**fields if key is None else fields | dict(count=jnp.zeros([], jnp.int32)))

    def is_half(p: Any, tree: Any, index: int) -> bool:
        """Whether it is a parameter that this writes; one that nothing is known of is refused."""
        dtype = jnp.result_type(p)
        if dtype.itemsize >= 4 or dtype in dtypes:
            return dtype.itemsize < 4
        known = " or ".join(str(jnp.dtype(x)) for x in dtypes)
        problem = f"params{check.path_to(tree, index)} is {dtype}, it writes {known} and leaves float32 as it is"
        raise Refusal(TypeError, f"{problem}{remedy}")

    def write(u: jax.Array, row: Any, w: jax.Array, dtype: Any) -> tuple[jax.Array, Fields]:
        u32 = u.astype(jnp.float32)
        after, fields = formula(u32, row, w, dtype)
        return change(after, w, u32).astype(u.dtype), fields

    def advance(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, state_type)
        check.require_params(flow.params)
        leaves, weights = flow.leaves, flow.weights
        halves = [isinstance(u, jax.Array) and is_half(weights[i], flow.params, i) for i, u in enumerate(leaves)]
        columns = {name: flow.match(getattr(state, name), f"the state's {name}") for name in names}
        require_beside(columns, halves, flow)
        after = {} if key is None else dict(count=increment(state.count))
        keys = None if key is None or True not in halves else keys_for(make_key(key), state.count, len(leaves), "write")
        stages: list[Any] = []
        found = [jnp.result_type(weights[i]) if half else None for i, half in enumerate(halves)]
        for dtype in [x for x in dtypes if x in found]:
            rows: list[Any] = [LEFT_OUT] * len(leaves)
            for i, own_dtype in enumerate(found):
                if own_dtype == dtype:
                    own = {} if keys is None else dict(count=jax.lax.index_in_dim(keys, i, keepdims=False))
                    rows[i] = state_type(**own, **{name: column[i] for name, column in columns.items()})
            stages.append(flow.stage(functools.partial(write, dtype=dtype), rows, names, needs_params=True, exact=True))
            flow.add(stages[-1])

        def filled() -> Any:
            results = [
                next((x for x in of_one if x), None) for of_one in zip(*[s.results for s in stages], strict=True)
            ]
            rest = {name: next_column(name, column, results) for name, column in columns.items()}
            return state._replace(**after, **{name: flow.structure.unflatten(x) for name, x in rest.items()})

        return flow.promise(filled) if names and stages else state._replace(**after)

    return Rule(start, advance, writes=True, counts=() if key is None else (("count",),))


@jax.custom_jvp
def change(after: jax.Array, w: jax.Array, u: jax.Array) -> jax.Array:
    """What makes a parameter the next one, with the derivative of the update: steps of rounding have none."""
    return after - w


@change.defjvp
def change_jvp(primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
    return change(*primals), tangents[2]


def require_beside(columns: dict[str, list[Any]], halves: list[bool], flow: Flow) -> None:
    """Refuse a state that was made for parameters of other shapes or of other dtypes."""
    for name, column in columns.items():
        for i, (u, half, field) in enumerate(zip(flow.leaves, halves, column, strict=True)):
            expected = u.shape if half else None
            held = None if field is None else jnp.shape(field)
            if u is not None and held != expected:
                where = f"params{check.path_to(flow.tree, i)} is {jnp.result_type(flow.weights[i])}"
                problem = f"{where}, and the state's {name} has {shape_in_words(held)} there"
                remedy = "call init with the parameters that are updated"
                raise Refusal(ValueError, f"{problem}, expected {shape_in_words(expected)}; {remedy}")


def shape_in_words(shape: tuple[int, ...] | None) -> str:
    return "nothing" if shape is None else f"shape {shape}"
