"""A formula on one array after the other of a few elements each, where codes are decoded and encoded around it: what it
computes with is then as large as these few, not as the array.
"""

import math
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gradtx.core.collectives import manual_axes
from gradtx.core.held import Held, is_held
from gradtx.core.locality import programs_in

Program = Callable[[jax.Array, list[Any], Any], tuple[jax.Array, list[dict[str, Any]]]]

# Of elements. On a processor they stay in its caches; on a GPU they keep all of it busy.
CHUNK = {"cpu": 2**16}
CHUNK_ELSEWHERE = 2**24

# What makes each element of its result of the elements in its place.
ELEMENTWISE = """
    abs acos acosh add add_any and asin asinh atan atan2 atanh bitcast_convert_type broadcast_in_dim cbrt ceil clamp
    convert_element_type copy copy_p cos cosh custom_jvp_call custom_vjp_call digamma div eq erf erf_inv erfc exp
    exp2 expm1 floor ge gt integer_pow is_finite jit le lgamma log log1p logistic lt max min mul ne neg nextafter
    not or pjit pow reduce_precision rem round rsqrt select_n shift_left shift_right_arithmetic shift_right_logical
    sign sin sinh sqrt square stop_gradient sub tan tanh xor
""".split()  # noqa: SIM905  # a list of strings would fill a page


def run_in_chunks(run: Program, g: jax.Array, rows: list[Any], p: jax.Array | None) -> Any:
    """`run(g, rows, p)`, a few elements after the others where that gives the same: some rows are held in codes, the
    array lies on one device, and no element of a result is made of others.
    """
    length = length_of_chunks(run, g, rows, p)
    return run_chunks(run, g, rows, p, length) if length else run(g, rows, p)


def length_of_chunks(run: Program, g: jax.Array, rows: list[Any], p: Any) -> int:
    """How many elements a chunk has, a whole number of blocks; 0 where the array is not cut."""
    arrays = jax.tree.leaves(rows, is_leaf=is_held)
    scaled = [x for x in arrays if isinstance(x, Held) and x.scale is not None]
    at_once = CHUNK.get(jax.default_backend(), CHUNK_ELSEWHERE)
    if not scaled or g.size < 2 * at_once or g.dtype.kind == "c" or jax.device_count() > 1 or manual_axes():
        return 0  # without a scale the compiler needs no copy; how parts lie on several devices is not known here
    blocks = [x.codec._block(x.shape) for x in scaled]
    if any(jnp.ndim(x) and x.shape != g.shape for x in arrays) or 0 in blocks or g.size % math.lcm(2, *blocks):
        return 0
    block = math.lcm(2, *blocks)  # 2 of 4 bits are in a byte
    n = g.size // block
    length = block * next(k for k in range(max(at_once // block, 1), 0, -1) if n % k == 0)
    return length if length * 16 >= at_once and is_elementwise(run, g, rows, p, length) else 0


def is_elementwise(run: Program, g: jax.Array, rows: list[Any], p: Any, length: int) -> bool:
    """Whether no element of a result is made of others, nor of the shape: the program for the array and that for so
    many of its elements have the same steps and the same numbers.
    """

    def program(shape: tuple[int, ...]) -> Any:
        def as_shape(x: Any) -> Any:
            return jax.ShapeDtypeStruct(shape if jnp.ndim(x) else (), x.dtype)

        return jax.make_jaxpr(run)(*jax.tree.map(as_shape, (g, rows, p), is_leaf=is_held))

    try:
        whole = program(g.shape)
        if not is_each(whole, g.shape):
            return False
        part = program((length,))
        return is_each(part, (length,)) and without_shapes(whole) == without_shapes(part)
    except Exception:  # which the run on the array itself will report, if it is one there
        return False


def is_each(program: Any, shape: tuple[int, ...]) -> bool:
    made = [x.aval.shape for x in program.jaxpr.outvars]
    return made == [shape] * len(made) and not any(map(jnp.ndim, program.consts)) and all_each(program.jaxpr, shape)


def all_each(program: Any, shape: tuple[int, ...]) -> bool:
    for step in program.eqns:
        if step.primitive.name not in ELEMENTWISE or any(x.aval.shape not in ((), shape) for x in step.outvars):
            return False
        if not all(all_each(inside, shape) for inside in programs_in(step)):
            return False
    return True


def without_shapes(program: Any) -> str:
    text = re.sub(r"\[[\d,]*\]|shape=\([\d, ]*\)|\bsharding=\S+", "", str(program))
    return " ".join(text.split())  # lines are broken where they are long


def run_chunks(run: Program, g: jax.Array, rows: list[Any], p: Any, length: int) -> Any:
    """The chunks one after the other, what is made of each in the place of what it was made of."""
    n = g.size // length
    made = jax.eval_shape(lambda: run(*pieces(0, (g, rows, p), n)))
    in_place = made[0].dtype == g.dtype
    names = [list(fields) for fields in made[1]]
    before = [{name: getattr(row, name) for name in own} for row, own in zip(rows, names, strict=True)]

    def step(i: Any, carried: Any) -> Any:
        u, fields = carried
        now = [row._replace(**own) if own else row for row, own in zip(rows, fields, strict=True)]
        whole = (u if in_place else g, now, p)
        zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(lambda: pieces(i, whole, n)))
        # Always taken, which the compiler doesn't know: it copies the pieces, where else it would copy the whole, since
        # what is read from an array for one result can't be overwritten by another one.
        made = run(*jax.lax.cond(i < n, lambda: pieces(i, whole, n), lambda: zeros))
        return jax.tree.map(lambda x, part: put(x, part, i, n), carried, made, is_leaf=is_held)

    return jax.lax.fori_loop(0, n, step, (g if in_place else jnp.zeros(g.shape, made[0].dtype), before))


def pieces(i: Any, tree: Any, n: int) -> Any:
    """The i-th of n pieces of all arrays; numbers are whole."""

    def take(x: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(x.reshape(-1), i * (x.size // n), x.size // n)

    def piece(x: Any) -> Any:
        if not isinstance(x, Held):
            return take(x) if jnp.ndim(x) else x
        scale = None if x.scale is None else take(x.scale)
        size = math.prod(x.shape) // n
        key = None if x.key is None else jnp.append(x.key, jnp.asarray(i * size, x.key.dtype))
        return Held(take(x.codes), scale, key, x.codec, (size,), x.dtype)

    return jax.tree.map(piece, tree, is_leaf=is_held)


def put(x: Any, part: Any, i: Any, n: int) -> Any:
    """An array with another i-th piece."""
    if isinstance(x, Held):
        scale = None if x.scale is None else put(x.scale, part.scale, i, n)
        return Held(put(x.codes, part.codes, i, n), scale, x.key, x.codec, x.shape, x.dtype)
    if not jnp.ndim(x):
        return part
    whole = jax.lax.dynamic_update_slice_in_dim(x.reshape(-1), part.reshape(-1), i * (x.size // n), 0)
    return whole.reshape(x.shape)
