"""Transformations in series, side by side, and none at all."""

import functools
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import optax

from gradtx.core import check
from gradtx.core.flow import Flow, Rule
from gradtx.core.lift import stateless
from gradtx.core.transformation import P, advance, extra_for, transformation
from gradtx.values.errors import Refusal, require_function
from gradtx.values.value import written


class associative(transformation[P]):
    """A transformation of parts in which parts of its own kind dissolve, so that grouping them changes nothing."""

    def checked(self, name: str, value: Any) -> Any:
        parts = super().checked(name, value)
        if name != self.variadic:
            return parts
        flat = [part.arguments[name] if self.dissolves(part) else (part,) for part in parts]
        return sum(flat, ())

    def dissolves(self, part: Any) -> bool:
        return getattr(part, "recipe", None) is self and part.arguments.keys() == {self.variadic}


@associative
def chain(*parts: optax.GradientTransformation, **named: optax.GradientTransformation) -> Rule:
    r"""The parts in series, $u \mapsto T_n(\dots T_2(T_1(u)))$.

    Parts may be Optax transformations. An extra argument of `update` goes to the parts that take it. `chain()` is the
    identity, and `chain(chain(a, b), c)` equals `chain(a, b, c)`. With names, `chain(clip=a, adam=b)`, the parts are
    `tx.clip` and `tx.adam`, their paths `clip.max_norm` and so on; such a chain inside of another stays a part of it.

    **State:** a tuple of the parts' states; with names, a dict.

    **Raises:** `TypeError` for a part that is no transformation and for names on some parts only, `ValueError` for a
    state of another number of parts; an error inside a part carries a note that names it.

    >>> import gradtx
    >>> gradtx.chain(gradtx.clip_by_norm(1.0), gradtx.sgd(0.1))
    chain(clip_by_norm(max_norm=1.0), sgd(learning_rate=0.1))
    >>> gradtx.chain(clip=gradtx.clip_by_norm(1.0), descent=gradtx.sgd(0.1)).clip
    clip_by_norm(max_norm=1.0)
    """
    if parts and named:
        got = f"{len(parts)} without beside {next(iter(named))!r}"
        raise Refusal(TypeError, f"either every part has a name or none, got {got}")
    several = dict(enumerate(parts)) or named
    form = dict if named else lambda rows: tuple(state for _, state in rows)

    def init(params: Any) -> Any:
        states: list[Any] = []
        for key, part in several.items():
            with noted(f"part {key!r} of a chain", part):
                states.append((key, part.init(params)))
        return form(states)

    def through(flow: Flow, state: Any, **extra: Any) -> Callable[[], Any]:
        check.require_states(state, several, dict if named else tuple)
        finish: list[tuple[Any, Callable[[], Any]]] = []
        for key, part in several.items():
            with flow.within(functools.partial(noted, f"part {key!r} of a chain", part)):
                finish.append((key, advance(part, flow, state[key], extra_for(part, extra))))
        return lambda: form([(key, state()) for key, state in finish])

    return Rule(init, through)


@transformation
def parallel(*branches: optax.GradientTransformation, join: Callable[..., Any]) -> Rule:
    r"""Each branch on the same updates, their outputs joined array by array, $u \mapsto f(T_1(u), \dots, T_n(u))$.

    **Arguments:** the branches, Optax transformations too; `join` $f$, a function of as many arrays as there are
    branches, in at least float32 (a complex array comes as its real and imaginary part stacked in front), which
    returns one like them. It is no hyperparameter: numbers that are to be swept, replaced or scheduled are arguments of
    a `@transformation` around it.

    **State:** a tuple of the branches' states.

    **Raises:** `TypeError` for a branch that is no transformation and a `join` that is no function or takes another
    number of arrays, `ValueError` without branches.

    RMSProp is the gradient over the root of the average of its squares:

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.parallel(
    ...     gx.identity(),
    ...     gx.chain(gx.square(), gx.ema(0.75)),
    ...     join=lambda g, v: g / jnp.sqrt(v),
    ... )
    >>> tx.update(jnp.array([4.0, -0.5]), tx.init(jnp.zeros(2)))[0]
    Array([ 2., -2.], dtype=float32)

    Grafting takes the direction of one and, array by array, the norm of another:

    >>> def graft(direction, size):
    ...     return direction * (gx.global_norm(size) / jnp.maximum(gx.global_norm(direction), 1e-30))
    >>> tx = gx.parallel(gx.scale_by_adam(), gx.identity(), join=graft)
    >>> tx.update(jnp.array([7.0, -1.0]), tx.init(jnp.zeros(2)))[0].round()
    Array([ 5., -5.], dtype=float32)
    """
    if not branches:
        raise Refusal(ValueError, "it needs at least one branch")
    require_function("join", join, "an array" if len(branches) == 1 else f"{len(branches)} arrays", len(branches))
    several = dict(enumerate(branches))

    def init(params: Any) -> tuple[Any, ...]:
        states: list[Any] = []
        for i, branch in several.items():
            with noted(f"branch {i} of a parallel", branch):
                states.append(branch.init(params))
        return tuple(states)

    def joined(u: Any, outputs: tuple[Any, ...]) -> tuple[Any, dict[str, Any]]:
        return join(*outputs), {}

    def side_by_side(flow: Flow, state: Any, **extra: Any) -> Callable[[], tuple[Any, ...]]:
        check.require_states(state, several, tuple)
        finish: list[Callable[[], Any]] = []
        outputs: list[list[Any]] = []
        for i, branch in several.items():
            with flow.within(functools.partial(noted, f"branch {i} of a parallel", branch)):
                own = flow.fork()
                finish.append(advance(branch, own, state[i], extra_for(branch, extra)))
                outputs.append(own.outputs(flow.tree))
        # Where no branch has an update, as for an integer that all of them freeze, there is none.
        rows = list(zip(*outputs, strict=True))
        flow.set({i: None for i, row in enumerate(rows) if all(x is None for x in row)})
        flow.then(joined, rows, names=[], needs_params=False)
        return lambda: tuple(state() for state in finish)

    return Rule(init, side_by_side)


@contextmanager
def noted(what: str, part: Any) -> Generator[None]:
    try:
        yield
    except Exception as error:
        if not getattr(error, "placed", False):  # a formula's error has the notes of the parts that it stands in
            error.add_note(f"in {what}, {written(part)}")
        raise


@transformation
def identity() -> Rule:
    """The updates as they are, $u$.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.identity()
    >>> tx.update(jnp.array([4.0]), tx.init(None))[0]
    Array([4.], dtype=float32)
    """
    return stateless(lambda g: g)
