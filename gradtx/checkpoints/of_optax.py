"""States of Optax taken over, and handed back."""

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from gradtx.checkpoints.counterpart import counterpart_of, own_labels
from gradtx.checkpoints.counts import counted, number_after, with_counts
from gradtx.checkpoints.fit import as_held, fit, on_device, source_of
from gradtx.checkpoints.injected import name_in_optax, require_same_numbers, shared_numbers
from gradtx.checkpoints.labels import require_labels
from gradtx.checkpoints.matching import Guide, Level, Match, match_parts
from gradtx.checkpoints.members import Member, members_of
from gradtx.checkpoints.order import unmasked
from gradtx.checkpoints.pieces import orders_of
from gradtx.checkpoints.rows import ROWS, STATELESS_THERE, is_theirs, require_same_rules
from gradtx.core.transformation import Transformation
from gradtx.core.walk import Node, parts_of, state_at, with_state_at
from gradtx.inspect.hyperparameters import require_own
from gradtx.inspect.state import as_path, states_by_path
from gradtx.values.errors import Refusal, errors_of
from gradtx.values.printing import package_of
from gradtx.wrappers.accumulate import AccumulateState
from gradtx.wrappers.guard import SkipNonfiniteState
from gradtx.wrappers.lookahead import LookaheadState


def from_optax(tx: Transformation, params: Any, state: Any, *, labels: Iterable[Any] | None = None) -> Any:
    """The state of a transformation that goes on where its counterpart in Optax stopped: the next step is the same.

    **Arguments:** `params`, as for `init`, or with the slow weights of `lookahead` beside them, as
    `optax.LookaheadParams`; `state`, Optax's, or what a checkpoint gives without a template: dicts and lists in the
    places of tuples, None in the places of what is empty. What counts is the order of the parts and the names of their
    fields. `labels`, Optax's labels of the groups of `partition`, in the order of its rules, the default's last: they
    are needed where neither arrays nor numbers tell the groups apart.

    Of `tx` is expected what `docs/migration.md` has beside Optax's call. Half-precision moments become float32. What
    only gradtx has starts as in `init`: norms, averages of parameters, what `record` keeps. A controlled number is that
    of `inject_hyperparams`.

    A dict with the fields of Adam's state is taken for one, whichever optimizer had it: of those that share their
    fields, as AdaBelief does, only a state in Optax's own class says which it is.

    **Raises:** `ValueError` for other parts, or in another order, for fields that mean something else in Optax
    (`amsgrad` without `debias_first`, `nadam` with `momentum_decay`, squares of complex arrays), for rules of which
    Optax has another form (`adan`, `rprop`, `muon`, what draws numbers), for arrays that are missing, left over or of
    another shape, for `inject_hyperparams` with another number than that of `tx`, for groups of which it is not known
    which is which, and for slow weights of `lookahead` that are not given.

    >>> import gradtx, jax.numpy as jnp, optax
    >>> w, g = jnp.array([1.0]), jnp.array([2.0])
    >>> _, state = optax.adam(0.1).update(g, optax.adam(0.1).init(w))
    >>> state = gradtx.from_optax(gradtx.adam(0.1), w, state)
    >>> gradtx.find(state, "mu"), int(gradtx.find(state, "0/count"))
    (Array([0.2], dtype=float32), 1)
    """
    with errors_of("from_optax"):
        require_same_rules(tx)
        fast, slow = params if isinstance(params, optax.LookaheadParams) else (params, None)
        own = require_own(tx).init(fast)
        behind = None if slow is None else tx.init(slow)

        def taken(matches: list[Match]) -> Any:
            return functools.reduce(lambda whole, match: read(match, whole, behind), matches, own)

        guide = Guide(orders_of(tx), require_labels(labels), taken)
        return taken(match_parts(list(members_of(Node("", tx, (), own))), Level(state), guide))


def to_optax(tx: Transformation, state: Any, like: Any = None, *, labels: Iterable[Any] | None = None) -> Any:
    """The state with which Optax's counterpart of a transformation goes on where this one stopped.

    **Arguments:** `state`, of `tx`; `like`, a state of the counterpart, such as its `init` returns, in whose form the
    result is, and `labels`, of the groups in it, as for `from_optax`. Without it that form is the one of Optax's
    function of the same name and of `chain`; `only` is `selective_transform`, and the labels of `partition` are "0",
    "1" and so on, and "default". It is needed where `inject_hyperparams` stands around, and where chains are grouped
    or masks are written in another way. With it, moments are rounded to the dtype that they have there.

    What Optax has no place for is left out: norms, averages of parameters, what `record` keeps. What `offload` has on
    the host comes back on the device.

    **Raises:** `ValueError` as `from_optax`, and for a schedule or a controlled number that Optax holds in
    `inject_hyperparams` alone, where `like` is not given.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.sgd(0.1, momentum=0.9), jnp.array([1.0])
    >>> _, state = tx.update(jnp.array([2.0]), tx.init(w))
    >>> gradtx.to_optax(tx, state)
    (TraceState(trace=Array([2.], dtype=float32)), EmptyState())
    """
    with errors_of("to_optax"):
        node = Node("", require_own(tx), (), on_device(state))
        require_same_rules(tx)
        if like is None and labels is not None:
            raise Refusal(ValueError, "labels are those of the groups in like; give a state of the counterpart")
        members = list(members_of(node))
        require_own_states(members)
        theirs = counterpart_of(node) if like is None else like

        def written(matches: list[Match]) -> Any:
            return functools.reduce(lambda whole, match: write(match, whole), matches, theirs)

        guide = Guide(orders_of(tx), own_labels(tx) if like is None else require_labels(labels), written)
        made = written(match_parts(members, Level(theirs), guide))
        require_none_of_ours(made)
        return made


def require_none_of_ours(state: Any) -> None:
    """Refuse what Optax can't read: what stands inside of one of its own wrappers is not seen here."""
    for keys, part in states_by_path(state):
        if package_of(type(part)) == "gradtx":
            where = f"{type(part).__name__} at {as_path(keys)} stands inside of a part of Optax's"
            raise Refusal(ValueError, f"{where}, which does not show its parts; put gradtx's around them")


# ---- from Optax ----


def read(match: Match, own: Any, behind: Any = None) -> Any:
    """The state of the whole with that of one part taken over. `behind` is the whole as it starts from Optax's slow
    weights, where these are known.
    """
    member, piece, steps, _ = match
    state = state_at(own, member.keys)
    if type(state) in ROWS:
        slow = None if behind is None else state_at(behind, member.keys)
        own = with_state_at(own, member.keys, state._replace(**read_fields(match, state, slow)))
    elif piece.fields and is_theirs(state) and not isinstance(state, STATELESS_THERE):
        own = with_state_at(own, member.keys, fit(source_of(piece.state, member.name), state))
    injected = piece.injected
    if injected is None:
        return with_counts(own, member, steps, lambda name: None)
    numbers = injected.fields["hyperparams"]
    require_same_numbers(member, injected)
    return with_counts(own, member, steps, lambda name: numbers.get(name_in_optax(member, name)))


def read_fields(match: Match, state: Any, slow: Any) -> dict[str, Any]:
    member, piece, steps, _ = match
    if isinstance(state, SkipNonfiniteState) and piece.is_of(optax.MultiStepsState):
        return {}  # which counts no steps that it left out
    row = ROWS[type(state)]
    names = row.names(state, tuple(piece.fields))
    fields = {
        name: fit(source_of(turn_sign(member, piece.fields[other]), f"{member.name}'s {other}"), getattr(state, name))
        for name, other in names.items()
    }
    if "count" in state._fields and "count" not in names:
        fields["count"] = counted(member, steps, state.count)
    made = row.read(member.tx, piece.fields, steps) if row.read else {}
    fields |= {name: fit(source_of(x, f"{member.name}'s {name}"), getattr(state, name)) for name, x in made.items()}
    if isinstance(state, AccumulateState):
        if state.acc_extra and int(fields["mini_step"]):
            problem = f"a window is open, and Optax keeps no mean of {', '.join(state.acc_extra)}"
            raise Refusal(ValueError, f"{problem}; take the state at the end of a window")
        windows = fields["count"] + (fields["mini_step"] > 0)
        fields["steps"] = number_after(member, "steps", windows, state.steps, lambda name: None)
    if isinstance(state, LookaheadState):
        fields["slow"] = find_slow_weights(fields["steps_since_sync"], state, slow)
    return fields


def turn_sign(member: Member, tree: Any) -> Any:
    """A field with the sign that it has on the other side."""
    return jax.tree.map(lambda x: -x, tree) if member.is_negated else tree


def find_slow_weights(steps: Any, state: LookaheadState, given: LookaheadState | None) -> Any:
    """Optax has them beside the parameters. At a step that brings both together they are these."""
    if given is not None:
        return given.slow
    if isinstance(steps, Tracer) or int(steps):
        problem = "Optax has lookahead's slow weights beside the parameters, not in the state"
        raise Refusal(ValueError, f"{problem}; give both for params, optax.LookaheadParams(fast, slow)")
    return state.slow


# ---- to Optax ----


def require_own_states(members: list[Member]) -> None:
    """Refuse a state with another kind of state than a part keeps."""
    for member in members:
        if member.node is None:
            continue
        kind, held = kind_kept(member.tx), member.node.state
        if kind and type(held) is not kind and (kind is not optax.EmptyState or jax.tree.leaves(held)):
            found = "an array" if isinstance(held, jax.Array) else type(held).__name__
            problem = f"the state has {found} in the place of {member.name}'s {kind.__name__}"
            raise Refusal(ValueError, f"{problem}; it was made by another optimizer")
        for name in parts_of(member.tx):
            require_own_states(member.inside(name))


def kind_kept(tx: Any) -> type[Any] | None:
    """The class of a part's state; None for Optax's own, and for what can't start with any parameters."""
    if not isinstance(tx, Transformation):
        return None
    try:
        return type(jax.eval_shape(tx.init, jnp.zeros(1)))
    except Exception:  # of a user's function, say, that selects by what these parameters lack
        return None


def write(match: Match, theirs: Any) -> Any:
    """Optax's state of the whole with that of one part in it."""
    member, piece, _, steps = match
    assert member.node
    state = member.state
    new: dict[str, Any] = {}
    if type(state) in ROWS:
        if not (isinstance(state, SkipNonfiniteState) and piece.is_of(optax.MultiStepsState)):
            fields = ROWS[type(state)].fields_there(member.tx, state, tuple(piece.fields))
            new = {other: turn_sign(member, x) for other, x in fields.items()}
    elif isinstance(state, STATELESS_THERE):
        piece = unmasked(piece)
    elif piece.fields and is_theirs(state):
        new = {name: getattr(state, name) for name in state._fields}
    if "count" in piece.fields and steps is not None:
        new = dict(count=steps) | new
    for name, x in new.items():
        source = source_of(x, f"{member.name}'s {name}")
        theirs = with_state_at(theirs, (*piece.keys, name), fit(source, piece.fields[name], narrow=True))
    return write_numbers(match, theirs) if piece.injected else theirs


def write_numbers(match: Match, theirs: Any) -> Any:
    """Optax's state with the numbers of a part where `inject_hyperparams` keeps them, and its count."""
    member, piece, _, steps = match
    assert piece.injected
    keys, fields = piece.injected.keys, piece.injected.fields
    numbers = shared_numbers(member, piece.injected)
    new = {("hyperparams", other): held_number(member, name) for name, other in numbers.items()}
    if steps is not None:
        new |= {("count",): steps}
        new |= {("hyperparams_states", name, "count"): steps for name in fields.get("hyperparams_states", ())}
    for place, x in new.items():
        theirs = with_state_at(theirs, keys + place, as_held(x, state_at(theirs, keys + place)))
    return theirs


def held_number(member: Member, name: str) -> Any:
    """A hyperparameter as the last update used it."""
    if not callable(member.tx.arguments[name]):
        return member.tx.arguments[name]
    assert member.node
    return member.node.state.hyperparams[name] if member.is_scheduled else getattr(member.state, name)
