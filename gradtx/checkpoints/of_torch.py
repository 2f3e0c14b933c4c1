"""States of torch's optimizers taken over. torch itself is not needed: its tensors become NumPy's arrays."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax

from gradtx.checkpoints.agreement import groups_of, numbers_in_torch, reached_by, require_same_descent
from gradtx.checkpoints.counts import counted, is_schedule, number_after, require_same_number, with_counts
from gradtx.checkpoints.entries import Entry, TorchNames, entries_of
from gradtx.checkpoints.factors_of_torch import take_factors
from gradtx.checkpoints.fit import Source, as_held, fit
from gradtx.checkpoints.members import Member, members_of
from gradtx.checkpoints.rows import ROWS, is_theirs
from gradtx.checkpoints.rows_of_torch import TORCH_ROWS, TorchGroup, TorchRow
from gradtx.core.paths import list_some, paths_and_leaves
from gradtx.core.transformation import Transformation
from gradtx.core.walk import Node, parts_of, state_at, with_state_at
from gradtx.inspect.hyperparameters import require_own
from gradtx.optimizers.adafactor import ScaleByFactoredRmsState
from gradtx.transforms.plateau import ReduceOnPlateauState
from gradtx.values.errors import Refusal, errors_of
from gradtx.wrappers.accumulate import AccumulateState


def from_torch(
    tx: Transformation,
    params: Any,
    state_dict: Mapping[str, Any],
    names: TorchNames,
    *,
    fresh: Iterable[str] = (),
    steps: int | None = None,
) -> Any:
    """The state of a transformation that goes on where torch's optimizer stopped.

    **Arguments:** `params`, as for `init`; `state_dict`, what `optimizer.state_dict()` returns, of tensors or NumPy
    arrays; `names`, torch's parameter for each array of `params` by its path: its place in the optimizer, or its name
    where that was made of `model.named_parameters()`. Where the array lies otherwise in torch, the name and a function
    from its form to that here, `("fc.weight", lambda x: x.T)`, which moves elements and does nothing else. `fresh`, the
    paths of arrays that start anew where torch has no state of them, since they never had a gradient. `steps`, the
    updates done so far, for a schedule, where the state does not say so, as SGD's. Those of `accumulate` are windows.

    Taken over are SGD's velocity, RMSprop, Adagrad, Adadelta, Adam, AdamW, with `amsgrad` too, NAdam, RAdam, Adamax,
    Adafactor, Muon, Rprop and ASGD with its mean; what only gradtx has starts as in `init`: norms, guards, other
    averages. There is one count for all arrays. The weights of the model are not in it.

    **Raises:** `ValueError` for another optimizer, for another number in it than here (its groups' rates, decay,
    momentum and so on are compared, except with schedules; a controlled number becomes torch's), for arrays that are
    missing, left over or of another shape, and for ones that had different numbers of updates.

    >>> import gradtx, jax.numpy as jnp, numpy as np
    >>> moments = dict(step=3, exp_avg=np.float32([[0.5, 1]]), exp_avg_sq=np.float32([[1, 1]]))
    >>> group = dict(params=[0], lr=0.1, betas=(0.9, 0.999), eps=1e-8, amsgrad=False)
    >>> params = {"kernel": jnp.zeros((2, 1))}
    >>> state = gradtx.from_torch(
    ...     gradtx.adam(0.1),
    ...     params,
    ...     {"state": {0: moments}, "param_groups": [group]},
    ...     {"kernel": (0, lambda x: x.T)},
    ... )
    >>> gradtx.find(state, "mu")["kernel"].T, int(gradtx.find(state, "0/count"))
    (Array([[0.5, 1. ]], dtype=float32), 3)
    """
    with errors_of("from_torch"):
        own = require_own(tx).init(params)
        if isinstance(fresh, str):
            raise Refusal(TypeError, f"fresh must be several paths, got a string; give [{fresh!r}]")
        anew = frozenset(fresh)
        entries = entries_of(params, state_dict, names, anew)
        steps = steps_of_entries(entries, steps)
        several = list(reached_by(list(members_of(Node("", tx, (), own))), params))
        groups = groups_of(params, entries, state_dict["param_groups"])
        used: set[tuple[str, str]] = set()
        for member, _ in several:
            if row := row_of(member, state_dict["param_groups"]):
                fields, more = take_fields(member, row, entries, anew, steps)
                if isinstance(member.state, ScaleByFactoredRmsState):
                    require_rule(member, row, [entry.group for entry in entries.values()])
                    factors, more = take_factors(member, entries, anew, params)
                    fields |= factors
                own = with_state_at(own, member.keys, state_at(own, member.keys)._replace(**fields))
                used |= more
        for one in several:
            numbers = numbers_in_torch(one, several, groups)
            own = with_counts(with_windows(own, one.member, steps), one.member, steps, numbers.get)
        taken = used | {(path, "step") for path in entries}
        left = [(path, key) for path, x in entries.items() for key in x.fields if (path, key) not in taken]
        if left:
            words = list_some(f"{key} of {path}" for path, key in left)
            problem = f"torch has {words}, for which the transformation has no place"
            raise Refusal(ValueError, f"{problem}; give the one that has the rule of that optimizer")
        require_same_descent(several, groups)
        return own


def with_windows(own: Any, member: Member, steps: Any) -> Any:
    """The state of the whole with the windows of an accumulation: torch's optimizer was called once for each."""
    state = member.state
    if not isinstance(state, AccumulateState):
        return own
    count = counted(member, steps, state.count, needed=is_schedule(member.tx.steps))
    length = number_after(member, "steps", steps, state.steps, lambda name: None)
    return with_state_at(own, member.keys, state_at(own, member.keys)._replace(count=count, steps=length))


def row_of(member: Member, groups: list[TorchGroup]) -> TorchRow | None:
    """What torch has for a part; None for what has no arrays, or starts anew."""
    state = member.state
    row = TORCH_ROWS.get(type(state))
    if row and row.is_optional and not any(row.mark in group for group in groups):
        return None
    anew = parts_of(member.tx) or isinstance(state, ReduceOnPlateauState)
    if row is None and not anew and (type(state) in ROWS or (is_theirs(state) and jax.tree.leaves(state))):
        raise Refusal(ValueError, f"{member.name} has no counterpart in torch; start it anew with init")
    if row and (problem := row.refusal(member.tx)):
        raise Refusal(ValueError, f"{member.name}: {problem}")
    return row


def take_fields(
    member: Member, row: TorchRow, entries: dict[str, Entry], fresh: frozenset[str], steps: Any
) -> tuple[dict[str, Any], set[tuple[str, str]]]:
    """The fields of a part, and which of torch's arrays are in them."""
    state, used = member.state, set[tuple[str, str]]()
    fields: dict[str, Any] = {"count": counted(member, steps, state.count)} if "count" in state._fields else {}
    for name, key in row.fields.items():
        held = getattr(state, name)
        rows = [(path, x) for path, x in paths_and_leaves(held) if x is not None]
        found = [path for path, _ in rows if path in entries and key in entries[path].fields]
        lacking = [path for path, _ in rows if path not in found and path not in fresh]
        require_rule(member, row, [entries[path].group for path, _ in rows if path in entries])
        if lacking:
            remedy = "give them in names, or in fresh where they never had a gradient"
            raise Refusal(ValueError, f"torch has no {key} of {list_some(lacking)}; {remedy}")
        arrays = {path: entries[path].turn(entries[path].fields[key]) if path in found else x for path, x in rows}
        fields[name] = fit(Source(arrays, f"{member.name}'s {key}"), held, narrow=True)
        used |= {(path, key) for path in found}
    for name, key in row.shared.items():
        own = {path: entries[path].fields[key] for path, _ in used if key in entries[path].fields}
        fields[name] = as_held(one_number(own, key, getattr(state, name)), getattr(state, name))
        used |= {(path, key) for path in own}
    used |= {(path, key) for path, _ in used for key in row.derived}
    return fields, used


def require_rule(member: Member, row: TorchRow, groups: list[TorchGroup]) -> None:
    """Refuse the state of an optimizer with another rule or other numbers."""
    for group in groups:
        more = [name for name in row.unlike if name in group]
        if row.mark not in group or more:
            lacking = f"among them {more[0]}" if more else f"and no {row.mark}"
            problem = f"the state is of another optimizer: its group has {list_some(group)}, {lacking}"
            raise Refusal(ValueError, f"{member.name}: {problem}")
        for name, get in row.numbers.items():
            require_same_number(member, name, get(group), f"torch's {name}")


def steps_of_entries(entries: dict[str, Entry], given: int | None) -> Any:
    """The updates that torch has counted, the same for all arrays."""
    steps = {path: x.fields["step"] for path, x in entries.items() if "step" in x.fields}
    return one_number(steps, "step", given)


def one_number(numbers: dict[str, Any], key: str, default: Any) -> Any:
    """The number that all arrays have; the default where none has one."""
    if len({float(x) for x in numbers.values()}) > 1:
        rows = list_some(f"{path} {float(x):g}" for path, x in numbers.items())
        raise Refusal(ValueError, f"torch has another {key} for each array, here all have one: {rows}")
    return next(iter(numbers.values()), default)
