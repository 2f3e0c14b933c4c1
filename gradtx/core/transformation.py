"""The transformation: a pure pair of functions, `init` and `update`, that is also a value."""

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import jax
import optax

from gradtx.core import check, eager
from gradtx.core.afterwards import misfit_of_state
from gradtx.core.collectives import AXES, manual_axes
from gradtx.core.flow import Flow, run_flow
from gradtx.core.given import as_jax_arrays, require_tree
from gradtx.core.locality import run_in_parts
from gradtx.core.loss import FUNCTIONS, STANDARD, names_taken_by
from gradtx.core.placement import lay_tree_like, put_beside
from gradtx.core.rule import Pair, Rule, transformations_in
from gradtx.core.stage import locate
from gradtx.values.errors import Refusal
from gradtx.values.value import Value, build, register, text_of

Updates = Any  # a tree of arrays like the parameters

SLIP = 0.75  # the likeness, as difflib measures it, from which on one name is taken for another one, misspelled
STRICT = "_strict"  # where an instance keeps whether it refuses what is no array of floats
TAKEN = "_taken"  # where an instance keeps which extra arguments it takes


@register
class Transformation(Value, Pair):
    """A pure pair `init(params) -> state`, `update(updates, state, params, **extra) -> (updates, state)`, and a value.

    It is an Optax transformation and unpacks as `init, update = tx`. Printed, compared, hashed and pickled by its
    arguments, it is a pytree of the numbers among them: an argument of `jit`, of `vmap`, of `grad`. Outside `jit` an
    update runs as one compiled call that takes the numbers as arguments, so a new value compiles nothing (beside an
    Optax transformation, and a function that is none of a module's, each value is compiled for itself). It runs as
    it is written where an extra argument is a function, a bool or an int, where what it is given holds something that
    is no array, and under `jax.disable_jit`.

    **Raises:** (`update`) `ValueError` where the updates, the parameters and the state don't match in structure or
    shape; `TypeError` for leaves that are neither floating-point nor complex, a state of another optimizer, and extra
    arguments that a part lacks. Those that no part takes are ignored, as Optax's protocol says, but for a name that is
    nearly that of one that a part takes and did not get.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.sgd(0.1), jnp.array([1.0])
    >>> updates, state = tx.update(2 * w, tx.init(w), w)
    >>> gradtx.apply_updates(w, updates), tx.replace(learning_rate=0.5)
    (Array([0.8], dtype=float32), sgd(learning_rate=0.5))
    """

    def init(self, params: Any) -> Any:
        """The state before the first update; for parameters given as `jax.ShapeDtypeStruct`s, its shapes."""
        leaves, structure = jax.tree.flatten(params)
        require_tree(self.recipe.__name__, params, leaves)
        if jax.ShapeDtypeStruct not in map(type, leaves):
            return put_beside(params, start(self, as_jax_arrays(params)))
        shapes = {i: x for i, x in enumerate(leaves) if isinstance(x, jax.ShapeDtypeStruct)}

        def of_arrays(arrays: dict[int, jax.Array]) -> Any:  # beside them, what else a model holds, such as functions
            tree = structure.unflatten([arrays.get(i, x) for i, x in enumerate(leaves)])
            return start(self, as_jax_arrays(tree))

        return jax.eval_shape(of_arrays, shapes)

    def update(self, updates: Updates, state: Any, params: Any = None, **extra: Any) -> tuple[Updates, Any]:
        """The updates that `apply_updates` adds to the parameters, and the next state."""
        if extra:
            extra = accept(self, extra)
        given = updates, state, params, extra
        try:
            if not eager.is_compilable(self, *given):
                return run_update(self, *given)
            if eager.is_shareable(self):
                return compiled_update(self, *given)
            return eager.compile_alone(self, run_update)(*given)
        except Exception as error:
            add_notes(error, self)
            if not isinstance(error.__context__, Refusal):
                like = as_jax_arrays(updates if params is None else params)
                if problem := misfit_of_state(state, lambda: start(self, like)):
                    raise ValueError(f"{self.recipe.__name__}: {problem}") from error
            raise

    # ---- an Optax transformation is a tuple of its two functions ----

    _blank = staticmethod(tuple.__new__)

    def __new__(cls, init: Any, update: Any) -> Any:
        """A plain pair of Optax, for tools that rebuild named tuples."""
        return optax.GradientTransformationExtraArgs(init, update)

    @classmethod
    def _make(cls, iterable: Any) -> Any:
        return cls(*iterable)

    def __add__(self, other: Any) -> Any:  # a tuple's would give a tuple
        raise TypeError(f"{self.recipe.__name__}: transformations have no + and *; join them with gradtx.chain")

    __radd__ = __mul__ = __rmul__ = __add__

    def _replace(self, **changes: Any) -> Any:  # with another function it is what it was built from no more
        return optax.GradientTransformationExtraArgs(self.init, self.update)._replace(**changes)

    if TYPE_CHECKING:  # the arguments, of which a type checker can't know

        def __getattr__(self, name: str) -> Any: ...


# ---- the two ways down: once for a fresh state, and at each update ----


def start(tx: Any, params: Any, role: str = "") -> Any:
    """The fresh state of a transformation, or of a part in its role."""
    try:
        if not isinstance(tx, Transformation):
            return tx.init(check.movable(params))
        try:
            rule = build(tx)
            return rule.init(check.movable(params) if is_strict(tx) else params)
        except Refusal as refusal:
            raise refusal.kind(f"{tx.recipe.__name__}: {refusal}") from None
    except Exception as error:
        if role:
            error.add_note(f"in {role}, {text_of(tx)}")
        raise


def run_update(tx: Transformation, updates: Any, state: Any, params: Any, extra: dict[str, Any]) -> tuple[Any, Any]:
    """An update as it is written."""
    state, params = as_jax_arrays((state, params))
    try:
        updates, after = run_flow(lambda flow: advance(tx, flow, state, extra), updates, params)
        # What each device has to itself may have become equal on all: it keeps the type that it had.
        return updates, lay_tree_like(after, state) if manual_axes() else after
    except Refusal as refusal:
        raise refusal.kind(f"{tx.recipe.__name__}: {refusal}") from None


compiled_update = jax.jit(run_update)


def advance(tx: Any, flow: Flow, state: Any, extra: dict[str, Any], part: str | None = None, ok: Any = None) -> Any:
    """Take a flow through a transformation, gradtx's or a plain pair; the next state, perhaps with promises in it.

    `part` is its name among the parts of the one around it. With `ok` its rule leaves the step out where that is false.
    """
    outer, place = flow.name, flow.place
    if part is not None:
        flow.place = (*place, part)
    if isinstance(tx, Transformation):
        flow.name = tx.recipe.__name__
    try:
        if extra:
            extra = extra_for(tx, extra)
        if isinstance(tx, Transformation):
            rule: Rule = build(tx)
            if rule.needs:
                check.require_extra([name for name in rule.needs if name not in extra])
            if is_strict(tx):
                check.require_arrays(flow.leaves)
            after = rule.advance(flow, state, extra) if ok is None else rule.advance_if(flow, state, ok, extra)
        elif isinstance(tx, Rule):
            after = tx.advance(flow, state, extra)
        else:
            after = advance_pair(tx.update, flow, state, extra)
    except Refusal as refusal:
        raise locate(refusal.kind(f"{flow.name}: {refusal}"), flow.place) from None
    except Exception as error:
        locate(error, flow.place)
        raise
    flow.name, flow.place = outer, place
    return after


def advance_pair(update: Any, flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
    """Take a flow through a plain function of whole trees."""
    if flow.params is not None:  # it sees no more parameters than it has updates for, a loss needs all
        extra = extra | {k: flow.widen_function(f) for k, f in extra.items() if k in FUNCTIONS and callable(f)}
    given = flow.updates_for_pair(), state, flow.own_params
    if manual_axes():
        updates, after = run_in_parts(lambda *given: update(*given, **extra), AXES.value, *given)
    else:
        updates, after = update(*given, **extra)
    flow.put(updates)
    return after


def add_notes(error: Exception, tx: Transformation) -> None:
    """Say in which parts of the transformation an error came up. They are looked up in this value, whose numbers can
    be printed: those of the one that ran may be arguments of a compiled call.
    """
    notes: list[str] = []
    inside: Any = tx
    for name in error.__dict__.pop("place", ()):
        parts = build(inside).parts if isinstance(inside, Transformation) else None
        if not parts or name not in parts:
            break
        inside = parts[name].tx
        if parts[name].role:
            notes.append(f"in {parts[name].role}, {text_of(inside)}")
    for note in reversed(notes):
        error.add_note(note)


# ---- which arrays have to be ones of floats ----


def is_strict(tx: Transformation) -> bool:
    """Whether all of them do: no part that the caller chose, and no selector, decides that."""
    if STRICT not in tx.__dict__:
        parts = build(tx).parts
        alone = parts is None or "" in parts  # a rule of its own, or a composition
        given = tx.recipe.holds_parts and transformations_in(tx.arguments)
        tx.__dict__[STRICT] = alone and not given and not selects(tx)
    return tx.__dict__[STRICT]


def selects(tx: Any) -> bool:
    """Whether there is a selector in it."""
    return isinstance(tx, Transformation) and (tx.recipe.selects or selects_by_rule(build(tx)))


def selects_by_rule(rule: Rule) -> bool:
    if rule.selects or (rule.routes is not None and not rule.everywhere):
        return True
    return rule.parts is not None and any(map(selects, [part.tx for part in rule.parts.values()]))


# ---- extra arguments ----


def takes(tx: Any) -> frozenset[str] | None:
    """The names of the extra arguments that `update` takes, its parts' among them; None for any: Optax does not say."""
    if isinstance(tx, Rule):
        return takes_of_rule(tx)
    if not isinstance(tx, Transformation):
        any_of_them = isinstance(tx, optax.GradientTransformationExtraArgs) and not isinstance(tx, WithoutExtra)
        return None if any_of_them else frozenset()
    if TAKEN not in tx.__dict__:
        tx.__dict__[TAKEN] = takes_of_rule(build(tx))
    return tx.__dict__[TAKEN]


def require_no(names: frozenset[str], tx: Any, problem: str) -> None:
    """Refuse a part that takes one of these extra arguments."""
    if known := names & (takes(tx) or frozenset()):
        raise Refusal(TypeError, f"tx takes {', '.join(sorted(known))}, {problem}")


def takes_of_rule(rule: Rule) -> frozenset[str] | None:
    return unite([rule.takes, *[takes(part.tx) for part in (rule.parts or {}).values()]])


def unite(names: list[frozenset[str] | None]) -> frozenset[str] | None:
    """All of these names; None where one of them stands for any."""
    known = [own for own in names if own is not None]
    return frozenset().union(*known) if len(known) == len(names) else None


def takes_of(tx: Any, extra: dict[str, Any]) -> frozenset[str] | None:
    """The names that it takes when it is given these: its own, and those of what a loss among them takes."""
    names = takes(tx)
    losses = [] if names is None else [extra[name] for name in FUNCTIONS & names & extra.keys()]
    return unite([names, *map(names_taken_by, losses)])


def accept(tx: Transformation, extra: dict[str, Any]) -> dict[str, Any]:
    """Those extra arguments that the transformation takes. Others may be for somebody else, but a name that is nearly
    one that it takes, and did not get, is a slip.
    """
    names = takes_of(tx, extra)
    if names is None or extra.keys() <= names:
        return extra
    for name in sorted(extra.keys() - names - STANDARD):
        for meant in get_close_matches(name, sorted(names - extra.keys()), 1, SLIP):
            taken = ", ".join(sorted(names))
            raise TypeError(f"{tx.recipe.__name__}: update got {name}, but takes {taken}: did you mean {meant}?")
    return {name: extra[name] for name in extra if name in names}


def extra_for(part: Any, extra: dict[str, Any]) -> dict[str, Any]:
    """Of several extra arguments those that this part takes: what a transformation of several parts hands to each.

    >>> import gradtx
    >>> gradtx.extra_for(gradtx.reduce_on_plateau(), dict(value=1.0, loss_fn=abs))
    {'value': 1.0}
    """
    names = takes_of(part, extra)
    return extra if names is None else {name: value for name, value in extra.items() if name in names}


class WithoutExtra(optax.GradientTransformationExtraArgs):
    """A transformation of Optax that takes no extra arguments, for wrappers that hand some to any."""


def composed_of(tx: Any) -> Any:
    """What a composition is made of; None for what has a rule of its own, or none of gradtx's."""
    parts = build(tx).parts if isinstance(tx, Transformation) else None
    return parts[""].tx if parts and "" in parts else None
