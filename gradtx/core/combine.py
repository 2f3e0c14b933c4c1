"""Transformations in series, side by side, and none at all."""

import functools
from collections.abc import Callable
from typing import Annotated, Any

import optax

from gradtx.core import check
from gradtx.core.factories import require_parts, transformation
from gradtx.core.flow import Flow
from gradtx.core.lift import stateless
from gradtx.core.rule import Part, Rule
from gradtx.core.stage import Fields
from gradtx.core.transformation import advance, start
from gradtx.core.walk import writes
from gradtx.values.annotations import Check
from gradtx.values.errors import Refusal, require_function


def dissolve(name: str, parts: Any) -> tuple[Any, ...]:
    """The parts, with those of a chain among them in its place: grouping them changes nothing."""
    flat: list[Any] = []
    for tx in require_parts(name, parts):
        flat += tx.arguments[name] if is_chain_without_names(tx) else (tx,)
    return tuple(flat)


def is_chain_without_names(tx: Any) -> bool:
    return getattr(tx, "recipe", None) is chain and len(tx.arguments) == 1


@transformation
def chain(
    *parts: Annotated[optax.GradientTransformation, Check(dissolve)], **named: optax.GradientTransformation
) -> Rule:
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
    return Series.of(unnamed=parts, named=named)


class Series(Rule):
    """The rule of a chain."""

    unnamed: tuple[Any, ...]
    named: dict[str, Any]

    @functools.cached_property
    def parts(self) -> dict[str, Part]:
        if self.named:
            return {name: Part(tx, (name,), f"part {name!r} of a chain") for name, tx in self.named.items()}
        return {f"parts[{i}]": Part(tx, (i,), f"part {i} of a chain") for i, tx in enumerate(self.unnamed)}

    def init(self, params: Any) -> Any:
        states = {part.keys[0]: start(part.tx, params, part.role) for part in self.parts.values()}
        return states if self.named else tuple(states.values())

    def advance(self, flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_states(state, self.named or self.unnamed)
        states: dict[Any, Any] = {}
        for name, (tx, keys, _) in self.parts.items():
            states[keys[0]] = advance(tx, flow, state[keys[0]], extra, name)
        return states if self.named else tuple(states.values())


@transformation
def parallel(*branches: optax.GradientTransformation, join: Callable[..., Any]) -> Rule:
    r"""Each branch on the same updates, their outputs joined array by array, $u \mapsto f(T_1(u), \dots, T_n(u))$.

    **Arguments:** the branches, Optax transformations too; `join` $f$, a function of as many arrays as there are
    branches, in at least float32 (a complex array comes as its real and imaginary part stacked in front), which
    returns one like them. Of a branch that writes parameters it may take the updates, and change none. It is no
    hyperparameter: numbers that are to be swept, replaced or scheduled are arguments of a `@transformation` around it.

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
    several = {f"branches[{i}]": Part(tx, (i,), f"branch {i} of a parallel") for i, tx in enumerate(branches)}

    def init(params: Any) -> tuple[Any, ...]:
        return tuple([start(part.tx, params, part.role) for part in several.values()])

    def join_outputs(u: Any, outputs: tuple[Any, ...]) -> tuple[Any, Fields]:
        return join(*outputs), {}

    def advance_branches(flow: Flow, state: Any, extra: dict[str, Any]) -> tuple[Any, ...]:
        check.require_states(state, branches)
        states: list[Any] = []
        outputs: list[list[Any]] = []
        flow.run()
        for own_state, (name, part) in zip(state, several.items(), strict=True):
            own = flow.fork()
            after = advance(part.tx, own, own_state, extra, name)
            outputs.append(own.outputs(flow.tree))
            states.append(own.settle(after))
        # Where no branch has an update, as for an integer that all of them freeze, there is none.
        rows = list(zip(*outputs, strict=True))
        flow.set({i: None for i, row in enumerate(rows) if all(x is None for x in row)})
        flow.then(join_outputs, rows, exact=any(map(writes, branches)))
        return tuple(states)

    return Rule(init, advance_branches, parts=several)


@transformation
def identity() -> Rule:
    """The updates as they are, $u$.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.identity()
    >>> tx.update(jnp.array([4.0]), tx.init(None))[0]
    Array([4.], dtype=float32)
    """
    return stateless(lambda g: g)
