"""Where a transformation acts: on some arrays, with others left as they are, frozen, or given to another one."""

from typing import Annotated, Any, NamedTuple

import optax

from gradtx.core import check
from gradtx.core.factories import require_part, transformation
from gradtx.core.flow import Flow
from gradtx.core.paths import keep, list_some, paths_and_leaves
from gradtx.core.rule import Part, Route, Rule
from gradtx.core.transformation import advance, start
from gradtx.selectors import Selector, Where, as_selector, choose_some, may_be_empty, two_routes
from gradtx.transforms.rate import require_block
from gradtx.values.annotations import Check
from gradtx.values.errors import Refusal
from gradtx.values.printing import excerpt
from gradtx.values.value import text_of


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

    **Arguments:** `tx`, an Optax transformation too; `where`, a selector, or what is taken for one: a tree of
    booleans, a function as in `by`.

    **State:** that of `tx` for the arrays that are meant, nothing for the others.

    **Raises:** (`init`) `ValueError` where no array is meant; (`update`) for a part of gradtx's that needs the norm of
    the whole tree.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.masked(gx.scale(0.1), gx.by_path("encoder"))
    >>> u = {"encoder": jnp.array([1.0]), "head": jnp.array([1.0])}
    >>> tx.update(u, tx.init(u))[0]
    {'encoder': Array([0.1], dtype=float32), 'head': Array([1.], dtype=float32)}
    """

    require_block(tx, "the other arrays", "use only(tx, where), or partition for several groups")

    def advance_masked(flow: Flow, state: Any, extra: dict[str, Any]) -> MaskedState:
        return advance_selected(tx, flow, where.chosen(flow.selector_tree), state, extra)

    return Rule(
        init=lambda params: init_selected(tx, where, params),
        advance=advance_masked,
        parts={"tx": Part(tx, ("inner_state",))},
        routes=lambda tree: two_routes(where.chosen(tree), tree, text_of(tx), "as it is", part="tx"),
    )


@transformation
def only(tx: optax.GradientTransformation, where: Where):
    r"""The transformation on some arrays, $T(u)$ there, and zeros for the others, which stay as they are. What is no
    array of floats there, such as an integer, has None for its update.

    **Arguments:** `tx`, an Optax transformation too; `where`, a selector, or what is taken for one: a tree of
    booleans, a function as in `by`.

    **State:** that of `tx` for the arrays that are meant, nothing for the others.

    **Raises:** (`init`) `ValueError` where no array is meant; (`update`) for a part of gradtx's that needs the norm of
    the whole tree.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.only(gx.sgd(0.1), gx.by_path("head"))
    >>> u = {"encoder": jnp.array([1.0]), "head": jnp.array([1.0])}
    >>> tx.update(u, tx.init(u))[0]
    {'encoder': Array([0.], dtype=float32), 'head': Array([-0.1], dtype=float32)}
    """

    def advance_only(flow: Flow, state: Any, extra: dict[str, Any]) -> MaskedState:
        chosen = where.chosen(flow.selector_tree)
        flow.select([not c for c in chosen]).freeze()
        return advance_selected(tx, flow, chosen, state, extra)

    return Rule(
        init=lambda params: init_selected(tx, where, params),
        advance=advance_only,
        parts={"tx": Part(tx, ("inner_state",))},
        routes=lambda tree: two_routes(where.chosen(tree), tree, text_of(tx), "frozen", part="tx"),
    )


@transformation
def freeze(where: Where):
    r"""Zeros for some arrays, $0$, which therefore stay as they are; the others' updates as they are, $u$. What is no
    array of floats, such as an integer, has None for its update.

    What stands behind it does not move these arrays either. What stands before it still keeps a state for them;
    `only(tx, ~where)` has none.

    **Arguments:** `where`, a selector, or what is taken for one: a tree of
    booleans, a function as in `by`.

    **Raises:** (`init`) `ValueError` where no array is meant.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.chain(gx.sgd(0.1), gx.freeze(gx.by_path("encoder")))
    >>> u = {"encoder": jnp.array([1.0]), "head": jnp.array([1.0])}
    >>> tx.update(u, tx.init(u))[0]
    {'encoder': Array([0.], dtype=float32), 'head': Array([-0.1], dtype=float32)}
    """

    def init(params: Any) -> optax.EmptyState:
        choose_some(where, params)
        return optax.EmptyState()

    def advance_freeze(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, optax.EmptyState)
        flow.select(where.chosen(flow.selector_tree)).freeze()
        return state

    return Rule(init, advance_freeze, routes=lambda tree: two_routes(where.chosen(tree), tree, "frozen", "as it is"))


def require_groups(name: str, groups: Any) -> tuple[tuple[Selector, Any], ...]:
    """Pairs of a selector and a transformation."""
    for i, group in enumerate(groups):
        if type(group) is not tuple or len(group) != 2:
            got = f"{type(group).__name__} {excerpt(group)}"
            raise Refusal(TypeError, f"{name}[{i}] must be a pair (selector, transformation), got {got}")
    return tuple(
        (as_selector(f"{name}[{i}][0]", where), require_part(f"{name}[{i}][1]", tx))
        for i, (where, tx) in enumerate(groups)
    )


Group = Annotated[tuple[Where, optax.GradientTransformation], Check(require_groups, selects=True)]


@transformation
def partition(*rules: Group, default: optax.GradientTransformation | None = None):
    r"""Each array to the first rule that takes it, $T_{r(i)}(u_i)$.

    **Arguments:** the rules, pairs of a selector (or what is taken for one, as in `masked`) and a
    transformation; `default`, for the arrays that no rule takes. `explain(tx, params)` shows which rule takes what.

    **State:** a tuple of the transformations' states, each for its own arrays.

    **Raises:** `TypeError` for a rule that is no such pair; (`init`) `ValueError` for a rule that takes no array and
    for an array that no rule takes; (`update`) for a part of gradtx's that needs the norm of the whole tree.

    >>> import gradtx as gx
    >>> tx = gx.partition((gx.by_path("bias$"), gx.sgd(0.1)), default=gx.adamw(1e-3))
    >>> gx.hyperparameters(tx)["rules[0][1].learning_rate"]
    0.1
    """
    several = {f"rules[{i}][1]": Part(tx, (i,), f"group {i} of a partition") for i, (_, tx) in enumerate(rules)}
    if default is not None:
        several["default"] = Part(default, (len(rules),), f"group {len(rules)} of a partition")

    def init(params: Any) -> tuple[Any, ...]:
        taken = share_out(rules, default, params)
        for i, (where, _) in enumerate(rules):
            wanted = choose_some(where, params, f"rules[{i}]")
            if any(wanted) and not any(taken[i]) and not may_be_empty(where):
                leaves = list_some(path for (path, _), one in zip(paths_and_leaves(params), wanted, strict=True) if one)
                problem = f"rules[{i}], {excerpt(where)}, takes nothing: rules before it take {leaves}"
                raise Refusal(ValueError, problem)
        parts = zip(several.values(), taken, strict=True)
        return tuple([start(part.tx, keep(params, own), part.role) for part, own in parts])

    def advance_groups(flow: Flow, state: Any, extra: dict[str, Any]) -> tuple[Any, ...]:
        check.require_states(state, tuple(several))
        taken = share_out(rules, default, flow.selector_tree)
        return tuple(
            [
                advance(part.tx, flow.select(own), before, extra, name)
                for (name, part), own, before in zip(several.items(), taken, state, strict=True)
            ]
        )

    def routes(tree: Any) -> list[Route]:
        found = zip(share_out(rules, default, tree), several.items(), strict=True)
        return [Route(own, f"{name.removesuffix('[1]')}: {text_of(part.tx)}", name) for own, (name, part) in found]

    return Rule(init, advance_groups, parts=several, routes=routes)


def share_out(rules: Any, default: Any, tree: Any) -> list[list[bool]]:
    """Which arrays each rule takes, and the default if there is one."""
    left = [x is not None for _, x in paths_and_leaves(tree)]
    found: list[list[bool]] = []
    for where, _ in rules:
        found.append([free and wanted for free, wanted in zip(left, where.chosen(tree), strict=True)])
        left = [free and not taken for free, taken in zip(left, found[-1], strict=True)]
    if default is not None:
        found.append(left)
    elif any(left):
        leaves = list_some(path for (path, _), free in zip(paths_and_leaves(tree), left, strict=True) if free)
        raise Refusal(ValueError, f"no rule takes {leaves}; add one, or default=…")
    return found


def init_selected(tx: Any, where: Selector, params: Any) -> MaskedState:
    return MaskedState(start(tx, keep(params, choose_some(where, params))))


def advance_selected(tx: Any, flow: Flow, chosen: list[bool], state: Any, extra: dict[str, Any]) -> MaskedState:
    check.require_state(state, MaskedState)
    return MaskedState(advance(tx, flow.select(chosen), state.inner_state, extra, "tx"))
