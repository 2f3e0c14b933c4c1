"""Where a transformation acts: on some arrays, with others left as they are, frozen, or given to another one."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import optax

from gradtx.core import check
from gradtx.core.combine import noted
from gradtx.core.flow import Flow, Rule
from gradtx.core.transformation import P, advance, extra_for, transformation
from gradtx.selectors import Selector, Where, as_selector, kept, listed, rows
from gradtx.transforms.rate import block
from gradtx.values.errors import Refusal
from gradtx.values.printing import excerpt


class MaskedState(NamedTuple):
    """The state of `masked` and `only`, and no state for the arrays that are not meant.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.only(gradtx.sgd(0.1, momentum=0.9), gradtx.by_path("head"))
    >>> gradtx.find(tx.init({"body": jnp.zeros(2), "head": jnp.zeros(2)}), "trace")
    {'body': None, 'head': Array([0., 0.], dtype=float32)}
    """

    inner_state: Any  # with None in the places of the other arrays


@transformation
def masked(tx: optax.GradientTransformation, where: Where):
    r"""The transformation on some arrays, $T(u)$ there, the others as they are, $u$.

    It is for blocks ahead of the learning rate, as in
    `chain(scale_by_adam(), masked(add_decayed_weights(0.1), by_ndim(at_least=2)), scale_by_learning_rate(1e-3))`, and
    behind it for the rates of groups: `chain(adam(1e-3), masked(scale(0.1), by_path("encoder")))`. Around an optimizer
    it would let the raw gradients of the others through, and is refused: there `only` and `partition` are meant.

    **Arguments:** `tx`, an Optax transformation too; `where`, a selector or a tree of booleans.

    **State:** that of `tx` for the arrays that are meant, nothing for the others.

    **Raises:** (`init`) `ValueError` where no array is meant; (`update`) for a part of gradtx's that needs the norm of
    the whole tree.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.masked(gx.scale(0.1), gx.by_path("encoder"))
    >>> u = {"encoder": jnp.array([1.0]), "head": jnp.array([1.0])}
    >>> tx.update(u, tx.init(u))[0]
    {'encoder': Array([0.1], dtype=float32), 'head': Array([1.], dtype=float32)}
    """

    block(tx, "the other arrays", "use only(tx, where), or partition for several groups")

    def advance_masked(flow: Flow, state: Any, **extra: Any) -> Callable[[], MaskedState]:
        return inside(tx, flow.part(where.chosen(flow.asked)), state, extra)

    return Rule(fresh(tx, where), advance_masked)


@transformation
def only(tx: optax.GradientTransformation, where: Where):
    r"""The transformation on some arrays, $T(u)$ there, and zeros for the others, which stay as they are. What is no
    array of floats there, such as an integer, has None for its update.

    **Arguments:** `tx`, an Optax transformation too; `where`, a selector or a tree of booleans.

    **State:** that of `tx` for the arrays that are meant, nothing for the others.

    **Raises:** (`init`) `ValueError` where no array is meant; (`update`) for a part of gradtx's that needs the norm of
    the whole tree.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.only(gx.sgd(0.1), gx.by_path("head"))
    >>> u = {"encoder": jnp.array([1.0]), "head": jnp.array([1.0])}
    >>> tx.update(u, tx.init(u))[0]
    {'encoder': Array([0.], dtype=float32), 'head': Array([-0.1], dtype=float32)}
    """

    def advance_only(flow: Flow, state: Any, **extra: Any) -> Callable[[], MaskedState]:
        chosen = where.chosen(flow.asked)
        flow.part([not c for c in chosen]).freeze()
        return inside(tx, flow.part(chosen), state, extra)

    return Rule(fresh(tx, where), advance_only)


@transformation
def freeze(where: Where):
    r"""Zeros for some arrays, $0$, which therefore stay as they are; the others' updates as they are, $u$. What is no
    array of floats, such as an integer, has None for its update.

    What stands behind it does not move these arrays either. What stands before it still keeps a state for them;
    `only(tx, ~where)` has none.

    **Arguments:** `where`, a selector or a tree of booleans.

    **Raises:** (`init`) `ValueError` where no array is meant.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.chain(gx.sgd(0.1), gx.freeze(gx.by_path("encoder")))
    >>> u = {"encoder": jnp.array([1.0]), "head": jnp.array([1.0])}
    >>> tx.update(u, tx.init(u))[0]
    {'encoder': Array([0.], dtype=float32), 'head': Array([-0.1], dtype=float32)}
    """

    def init(params: Any) -> optax.EmptyState:
        meant(where, params)
        return optax.EmptyState()

    def advance_freeze(flow: Flow, state: Any) -> Callable[[], Any]:
        check.require_state(state, optax.EmptyState)
        flow.part(where.chosen(flow.asked)).freeze()
        return lambda: state

    return Rule(init, advance_freeze)


class grouping(transformation[P]):
    """A transformation of rules: selectors with what becomes of the arrays that they take."""

    def checked(self, name: str, value: Any) -> Any:
        if name != self.variadic:
            return super().checked(name, value)
        return tuple(self.rule(f"{name}[{i}]", rule) for i, rule in enumerate(value))

    def rule(self, name: str, rule: Any) -> tuple[Selector, Any]:
        if type(rule) is not tuple or len(rule) != 2:
            got = f"{type(rule).__name__} {excerpt(rule)}"
            raise Refusal(TypeError, f"{name} must be a pair (selector, transformation), got {got}")
        return as_selector(f"{name}[0]", rule[0]), self.part(f"{name}[1]", rule[1])


@grouping
def partition(*rules: tuple[Where, optax.GradientTransformation], default: optax.GradientTransformation | None = None):
    r"""Each array to the first rule that takes it, $T_{r(i)}(u_i)$.

    **Arguments:** the rules, pairs of a selector (or a tree of booleans) and a transformation; `default`, for the
    arrays that no rule takes. `explain(tx, params)` shows which rule takes what.

    **State:** a tuple of the transformations' states, each for its own arrays.

    **Raises:** `TypeError` for a rule that is no such pair; (`init`) `ValueError` for a rule that takes no array and
    for an array that no rule takes; (`update`) for a part of gradtx's that needs the norm of the whole tree.

    >>> import gradtx as gx
    >>> tx = gx.partition((gx.by_path("bias$"), gx.sgd(0.1)), default=gx.adamw(1e-3))
    >>> gx.hyperparameters(tx)["rules[0][1].learning_rate"]
    0.1
    """
    parts = [part for _, part in rules] + ([] if default is None else [default])

    def init(params: Any) -> tuple[Any, ...]:
        taken = groups(rules, default, params)
        for i, (where, _) in enumerate(rules):
            wanted = meant(where, params, f"rules[{i}]")
            if any(wanted) and not any(taken[i]):
                leaves = listed(path for (path, _), one in zip(rows(params), wanted, strict=True) if one)
                problem = f"rules[{i}], {excerpt(where)}, takes nothing: rules before it take {leaves}"
                raise Refusal(ValueError, problem)
        states: list[Any] = []
        for i, (part, own) in enumerate(zip(parts, taken, strict=True)):
            with noted(f"group {i} of a partition", part):
                states.append(part.init(kept(params, own)))
        return tuple(states)

    def advance_groups(flow: Flow, state: Any, **extra: Any) -> Callable[[], tuple[Any, ...]]:
        check.require_states(state, dict(enumerate(parts)), tuple)
        finish: list[Callable[[], Any]] = []
        for i, (part, own) in enumerate(zip(parts, groups(rules, default, flow.asked), strict=True)):
            with flow.within(functools.partial(noted, f"group {i} of a partition", part)):
                finish.append(advance(part, flow.part(own), state[i], extra_for(part, extra)))
        return lambda: tuple(state() for state in finish)

    return Rule(init, advance_groups)


def groups(rules: Any, default: Any, tree: Any) -> list[list[bool]]:
    """Which arrays each rule takes, and the default if there is one."""
    left = [x is not None for _, x in rows(tree)]
    found: list[list[bool]] = []
    for where, _ in rules:
        found.append([free and wanted for free, wanted in zip(left, where.chosen(tree), strict=True)])
        left = [free and not taken for free, taken in zip(left, found[-1], strict=True)]
    if default is not None:
        found.append(left)
    elif any(left):
        leaves = listed(path for (path, _), free in zip(rows(tree), left, strict=True) if free)
        raise Refusal(ValueError, f"no rule takes {leaves}; add one, or default=…")
    return found


def fresh(tx: Any, where: Selector) -> Callable[[Any], MaskedState]:
    return lambda params: MaskedState(tx.init(kept(params, meant(where, params))))


def inside(tx: Any, part: Flow, state: Any, extra: dict[str, Any]) -> Callable[[], MaskedState]:
    check.require_state(state, MaskedState)
    finish = advance(tx, part, state.inner_state, extra_for(tx, extra))
    return lambda: MaskedState(finish())


def meant(where: Selector, params: Any, name: str = "where") -> list[bool]:
    """Which arrays a selector means, of which there must be one."""
    chosen, all_rows = where.chosen(params), rows(params)
    paths = [path or "a single array without a path" for path, x in all_rows if x is not None]
    if paths and not any(chosen):
        raise Refusal(ValueError, f"{name}, {excerpt(where)}, matches no array of {listed(paths)}")
    return chosen
