"""What the laws are about: a transformation, and what they have to know of it."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import gradtx as gx
from gradtx.core import check
from gradtx.inspect.hyperparameters import places
from gradtx.testing.examples import FEW, example
from gradtx.values.errors import Refusal, errors_of
from gradtx.values.printing import excerpt, what_came


def nothing(updates: Any, params: Any) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, eq=False)
class Subject:
    """A transformation under test; the arguments are those of `check_transformation`.

    >>> import gradtx
    >>> from gradtx.testing import Subject
    >>> Subject(gradtx.sgd(0.1, momentum=0.9), unused=("dampening",)).used
    {'learning_rate': 0.1, 'momentum': 0.9}
    """

    tx: optax.GradientTransformation
    extra: Callable[[Any, Any], dict[str, Any]] = nothing
    needs_params: bool | None = None
    elementwise: bool = False
    pairs: bool = True
    unused: tuple[str, ...] = ()
    copies_params: bool = False
    selects: bool = False
    own_count: bool = False
    writes: bool = False
    refuses: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        with errors_of(type(self).__name__):
            refuse(self.tx, self.extra, self.unused)

    @property
    def value(self) -> gx.Transformation:
        """The transformation, for the laws of values; they don't apply to another one."""
        if not isinstance(self.tx, gx.Transformation):
            raise TypeError("a plain pair is no value; law.excuse(subject) says where a law does not apply")
        return self.tx

    @functools.cached_property
    def must_have_params(self) -> bool:
        """Whether `update` can't do without the parameters: as its author says, or else as it says itself."""
        if self.needs_params is None:
            try:
                jax.eval_shape(lambda *args: self.update(*args), example(FEW).updates, self.fresh_state)
            except Exception as error:
                return isinstance(error, ValueError) and bool(re.search(r"\bparam(eter)?s\b", str(error)))
        return bool(self.needs_params)

    @property
    def numbers(self) -> dict[str, Any]:
        """The hyperparameters of a value that are numbers, by their paths."""
        return {path: x for path, x in gx.hyperparameters(self.value).items() if x is not None and not callable(x)}

    @property
    def used(self) -> dict[str, Any]:
        return {path: x for path, x in self.numbers.items() if path not in self.unused}

    @property
    def schedulable(self) -> dict[str, Any]:
        """The numbers that may be schedules: an unused one may be 0.0 where nothing else may be given."""
        able = {path: x for path, x in self.numbers.items() if path in self.used or x != 0.0}
        return {path: x for path, x in able.items() if path not in self.initial}

    @property
    def initial(self) -> set[str]:
        """The paths of numbers that only `init` reads, which may be no schedules."""
        return {place.path for place in places(self.value) if place.allowed.initial}

    def update(self, updates: Any, state: Any, params: Any = None, *, tx: Any = None) -> tuple[Any, Any]:
        """The update of the transformation, or of a relative of it that takes the same extra arguments."""
        return (tx or self.tx).update(updates, state, params, **self.extra(updates, params))

    def step(self, updates: Any, state: Any, params: Any, tx: Any = None) -> tuple[Any, Any]:
        """One compiled update, which the laws share; a value is an argument of it, as users write it."""
        return self.compiled(tx or self.tx)(tx or self.tx, updates, state, params)

    def first(self, updates: Any, params: Any, tx: Any = None) -> Any:
        """The updates of a first step, compiled together with its `init`."""
        return self.compiled_first(tx or self.tx)(tx or self.tx, updates, params)

    def run(self, params: Any, gradients: list[Any], tx: Any = None) -> tuple[list[Any], Any]:
        """The updates of several steps and the last state; the parameters move along."""
        state, out = (tx or self.tx).init(params), []
        for g in gradients:
            u, state = self.step(g, state, params, tx)
            params = gx.apply_updates(params, u)
            out.append(u)
        return out, state

    def scan(self, tx: Any, params: Any, gradients: Any) -> Any:
        """The updates of several steps whose gradients are stacked, stacked too; the parameters stay."""

        def body(state: Any, g: Any) -> Any:
            return self.update(g, state, params, tx=tx)[::-1]

        return jax.lax.scan(body, tx.init(params), gradients)[1]

    def program(self, updates: Any, state: Any, params: Any) -> Any:
        """The program of `step`, as it was traced when it was compiled."""
        return self.compiled(self.tx).trace(self.tx, updates, state, params).jaxpr

    def program_again(self, updates: Any, state: Any, params: Any, tx: Any = None) -> Any:
        """What `step` is traced to once more, with this transformation or a relative."""
        tx = self.tx if tx is None else tx
        is_value = isinstance(tx, gx.Transformation)
        again = (lambda tx, *args: self.update(*args, tx=tx)) if is_value else (lambda *args: self.update(*args, tx=tx))
        return jax.make_jaxpr(again)(*([tx] if is_value else []), updates, state, params)

    @functools.cached_property
    def compiled_scan(self) -> Any:
        """`scan`, compiled, with a value as an argument."""
        return jax.jit(self.scan)

    def first_sum(self, g: Any, tx: Any = None) -> Any:
        """One number of a first step, in which every element of its updates counts."""
        u, _ = self.update(g, (tx or self.tx).init(g), g, tx=tx)
        return sum(jnp.sum(x + jnp.square(x)) for x in jax.tree.leaves(u))

    def slope(self, g: Any) -> tuple[Any, Any]:
        """The compiled gradient of that number by the updates and, if it is one, by the value."""
        if isinstance(self.tx, gx.Transformation):
            return self.compiled_slope[1](g, self.tx)
        return self.compiled_slope[0](g), None

    @functools.cached_property
    def compiled_slope(self) -> tuple[Any, Any]:
        return jax.jit(jax.grad(self.first_sum)), jax.jit(jax.grad(self.first_sum, argnums=(0, 1), allow_int=True))

    @functools.cached_property
    def both(self) -> Any:
        return both_ways(lambda tx, g, state, params: self.update(g, state, params, tx=tx))

    @functools.cached_property
    def both_first(self) -> Any:
        return both_ways(lambda tx, g, params: self.update(g, tx.init(params), params, tx=tx)[0])

    def compiled(self, tx: Any) -> Any:
        return self.both[isinstance(tx, gx.Transformation)]

    def compiled_first(self, tx: Any) -> Any:
        return self.both_first[isinstance(tx, gx.Transformation)]

    def traced(self, example: Any, *, with_params: bool = True) -> tuple[Any, Any, Any]:
        """The shapes of `init`'s state, of the updates and of the next state, traced once for several laws."""
        key = str(example), with_params
        if key not in self.shapes_by_example:
            state = jax.eval_shape(self.tx.init, example.params)
            params = (example.params,) if with_params else ()
            after = jax.eval_shape(lambda *args: self.update(*args), example.updates, state, *params)
            self.shapes_by_example[key] = state, *after
        return self.shapes_by_example[key]

    @functools.cached_property
    def shapes_by_example(self) -> dict[Any, Any]:
        return {}

    @functools.cached_property
    def fresh_state(self) -> Any:
        """A state of `init` by its shapes."""
        return jax.eval_shape(self.tx.init, example(FEW).params)

    def takes_functions(self, updates: Any, params: Any) -> bool:
        """Whether there is a function among the extra arguments; outside of `jit` its loops compile one by one."""
        return any(map(callable, jax.tree.leaves(self.extra(updates, params))))


def both_ways(function: Any) -> tuple[Any, Any]:
    """A compiled function whose first argument is a plain pair, and one whose first argument is a value."""
    return jax.jit(function, static_argnums=0), jax.jit(function)


def stack(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *x: jnp.asarray(np.stack(x)), *trees)  # NumPy's stack compiles nothing


def refuse(tx: Any, extra: Any, unused: Any) -> None:
    if not isinstance(tx, optax.GradientTransformation):
        got = what_came(tx)
        if isinstance(tx, tuple) and len(tx) == 2:
            got = "a plain tuple; make it one with optax.GradientTransformation(init, update)"
        raise Refusal(TypeError, f"tx must be a transformation, got {got}")
    if not callable(extra):
        remedy = "write lambda updates, params: dict(value=…)"
        raise Refusal(TypeError, f"extra must be a function, got {type(extra).__name__}; {remedy}")
    has = list(gx.hyperparameters(tx)) if isinstance(tx, gx.Transformation) else []
    if not isinstance(unused, tuple) or not set(unused) <= set(has):
        raise Refusal(ValueError, f"unused must be a tuple of paths among {has}, got {excerpt(unused)}")


# ---- extra arguments of well-known kinds ----


def measured(updates: Any, params: Any) -> dict[str, Any]:
    """A loss that is measured: the norm of the updates. For `extra`, where an update takes `value`.

    >>> import gradtx
    >>> from gradtx.testing import check_transformation, measured, scan_and_cond_equal_a_loop
    >>> check_transformation(gradtx.reduce_on_plateau(), extra=measured, laws=[scan_and_cond_equal_a_loop]).held
    True
    """
    return dict(value=gx.global_norm(updates))


def problem(updates: Any, params: Any, sign: float = 1.0) -> dict[str, Any]:
    """A loss that has the updates for its gradient, and curvature that differs by element. For `extra`, where an
    update takes `value`, `grad`, `value_fn` or `loss_fn`; with `sign=-1.0` the updates point downhill.

    >>> import jax, jax.numpy as jnp
    >>> from gradtx.testing import problem
    >>> extra = problem(jnp.array([3.0]), jnp.array([1.0]))
    >>> sorted(extra), jax.grad(extra["loss_fn"])(jnp.array([1.0]))
    (['grad', 'loss_fn', 'value', 'value_fn'], Array([3.], dtype=float32))
    """
    leaves, structure = jax.tree.flatten(updates, is_leaf=lambda x: x is None)

    def arrays_of(tree: Any) -> list[Any]:
        return [x for x, u in zip(structure.flatten_up_to(tree), leaves, strict=True) if u is not None]

    def loss(w: Any) -> Any:
        return loss_of_arrays(sign, arrays_of(updates), arrays_of(params), arrays_of(w))

    grad = jax.tree.map(lambda u: sign * jnp.conj(u), updates)
    return dict(value=1.0, grad=grad, value_fn=loss, loss_fn=loss)


@functools.partial(jax.jit, static_argnums=0)  # a second-order step takes it dozens of times: it is traced once
def loss_of_arrays(sign: float, updates: list[Any], params: list[Any], arrays: list[Any]) -> Any:
    def part(u: Any, p: Any, x: Any) -> Any:
        change, u = (jnp.asarray(a, check.promote(a.dtype)) for a in (x - p, u))
        curved = np.linspace(0.5, 1.5, x.shape[-1] if x.ndim else 1).reshape((1,) * (x.ndim - 1) + (-1,))
        squares = curved.astype(change.real.dtype) * (change * change.conj()).real
        fourth = jnp.real(change) ** 4 + jnp.imag(change) ** 4
        return jnp.sum(sign * (u.conj() * change).real + squares + 0.2 * fourth)

    return jnp.asarray(1.0 + sum(map(part, updates, params, arrays)))
