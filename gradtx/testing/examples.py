"""The trees that the laws run on, each with the smaller ones in which a breach is looked for again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

f32 = jnp.float32
REAL = (jnp.float32, jnp.bfloat16, jnp.float16, jnp.float64)
REAL_PAIRS = [(p, u) for p in REAL for u in REAL]
PAIRS = (  # the usual ones first: those are looked at first for a breach
    *sorted(REAL_PAIRS, key=lambda pair: (jnp.float64 in pair, pair[0] != pair[1])),
    (jnp.complex64, jnp.complex64),
    (jnp.complex64, jnp.complex128),
)


def array(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, f32)


NUMBER, VECTOR, MATRIX = array(), array(3), array(3, 4)
FEW = {"w": MATRIX, "number": NUMBER, "frozen": None}  # as small as laws allow: a smaller program compiles faster
ALL = {"a": {"w": MATRIX, "b": array(4)}, "frozen": None, "list": [NUMBER, array(0, 2)]}


@dataclass(frozen=True)
class Example:
    """Parameters and updates by their shapes and dtypes."""

    params: Any  # a tree of jax.ShapeDtypeStruct
    updates: Any
    smaller: Sequence["Example"] = ()  # the smallest first

    def filled(self, steps: int) -> tuple[Any, list[Any]]:
        """Normal random parameters, and the updates of several steps."""
        return normal(self.params), [normal(self.updates, seed) for seed in range(1, steps + 1)]

    def __str__(self) -> str:
        params, updates = describe_tree(self.params), describe_tree(self.updates)
        return f"params and updates {params}" if params == updates else f"params {params}, updates {updates}"


def example(tree: Any, pairs: Sequence[tuple[Any, Any]] = ((f32, f32),)) -> Example:
    """A tree in the first pair of dtypes, of parameters and updates; below it, all that is smaller, in every pair."""
    smaller = [x for x in (NUMBER, VECTOR, MATRIX, FEW) if size(x) < size(tree)]
    smaller += [x for x in jax.tree.leaves(tree) if not x.size]
    return in_pair(tree, pairs[0], [in_pair(x, pair) for x in smaller for pair in pairs])


def in_pair(tree: Any, pair: tuple[Any, Any], smaller: Sequence[Example] = ()) -> Example:
    return Example(in_dtype(tree, pair[0]), in_dtype(tree, pair[1]), smaller)


def in_dtype(tree: Any, dtype: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), tree)


def in_all_pairs(pairs: Sequence[tuple[Any, Any]]) -> Example:
    """A matrix and a number of each pair of dtypes in one tree, an array without elements and a None."""
    each = [in_pair({"w": MATRIX, "number": NUMBER}, pair) for pair in pairs]
    rest = {"empty": array(0, 2), "frozen": None}
    params, updates = {"arrays": [x.params for x in each], **rest}, {"arrays": [x.updates for x in each], **rest}
    return Example(params, updates, example(FEW | rest, pairs).smaller)


def possible(pairs: Sequence[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Those pairs of dtypes that JAX has: without x64, none of 64 bits."""
    return [pair for pair in pairs if all(jax.dtypes.canonicalize_dtype(x) == x for x in pair)]


def widest(dtype: Any) -> Any:
    """This dtype of 64 bits a number, or what JAX makes of it without x64."""
    return jax.dtypes.canonicalize_dtype(dtype)


# ---- what a law must hold on ----


def few(subject: Any) -> list[Example]:
    return [example(FEW)]


def few_wide(subject: Any) -> list[Example]:
    return [example(FEW, [(widest(float), widest(float))])]


def everything(subject: Any) -> list[Example]:
    return [example(ALL)]


def each_pair(subject: Any) -> list[Example]:
    """Each pair of dtypes: together in one tree, or in a tree of its own where arrays act on each other."""
    pairs = [pair for pair in possible(PAIRS) if pair[0] not in subject.refuses]
    if subject.elementwise:
        return [in_all_pairs(pairs)]
    return [example(FEW | {"empty": array(0, 2)}, [pair]) for pair in pairs]


# ---- trees ----


def size(tree: Any) -> int:
    return sum(x.size for x in jax.tree.leaves(tree))


def normal(shapes: Any, seed: int = 0) -> Any:
    source = np.random.default_rng(seed)  # NumPy's: JAX would compile a program for each shape and dtype

    def draw(x: Any) -> jax.Array:
        numbers = source.standard_normal((2, *x.shape))
        is_complex = jnp.issubdtype(x.dtype, jnp.complexfloating)
        return jnp.asarray((numbers[0] + 1j * numbers[1]) / 2**0.5 if is_complex else numbers[0], x.dtype)

    return jax.tree.map(draw, shapes)


class Written(str):
    def __repr__(self) -> str:
        return self


def describe_tree(tree: Any) -> str:
    """A tree with the dtype and the shape of each array in its place."""
    return repr(jax.tree.map(lambda x: Written(form(x)), tree))


def form(x: Any) -> str:
    weak = ", weakly typed" if getattr(x, "weak_type", False) else ""
    return f"{x.dtype}[{','.join(map(str, x.shape))}]{weak}"
