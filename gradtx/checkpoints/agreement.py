"""What torch's groups say of the next step, compared with what a transformation does to each array."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from gradtx.checkpoints.counts import require_equal, require_same_number
from gradtx.checkpoints.members import Member
from gradtx.checkpoints.rows_of_torch import OF_ASGD, TORCH_ROWS, TorchGroup, is_of_adafactor, is_of_muon
from gradtx.core.paths import keep, list_some, paths_and_leaves
from gradtx.core.walk import parts_of
from gradtx.transforms.average import average_parameters
from gradtx.transforms.decay import add_decayed_weights
from gradtx.transforms.factors import scale_by_tree
from gradtx.transforms.layers import layerwise
from gradtx.transforms.rate import ScaleByLearningRateState, scale, scale_by_learning_rate
from gradtx.values.errors import Refusal

Groups = dict[str, TorchGroup]  # torch's group of each array, by its path


class Reached(NamedTuple):
    """A part, and the paths of the arrays on which it acts."""

    member: Member
    paths: frozenset[str]

    @property
    def recipe(self) -> Any:
        return self.member.recipe

    @property
    def is_row(self) -> bool:
        row = TORCH_ROWS.get(type(self.member.state))
        return row is not None and not row.is_optional

    @property
    def is_rate(self) -> bool:
        return isinstance(self.member.state, ScaleByLearningRateState)

    @property
    def moves(self) -> bool:
        row = TORCH_ROWS.get(type(self.member.state))
        return self.is_rate or (row is not None and row.has_rate)

    @property
    def is_unknown(self) -> bool:
        """Whether it may do to the updates what cannot be read off its arguments."""
        module = getattr(self.recipe, "__module__", "")
        return not module.startswith("gradtx.") or module.startswith("gradtx.optax")


def reached_by(members: list[Member], tree: Any) -> Iterator[Reached]:
    """The parts in the order of their application, those inside of wrappers too, whatever these are: torch has none."""
    for member in members:
        if member.node is None:
            continue
        own = tree
        if member.recipe is add_decayed_weights and member.tx.mask is not None:
            own = keep(tree, member.tx.mask.chosen(tree))
        yield Reached(member, frozenset(path for path, x in paths_and_leaves(own) if x is not None))
        routes = member.node.rule.routes(tree) if member.node.rule and member.node.rule.routes else []
        for name in parts_of(member.tx):
            chosen = [route.where for route in routes if route.part == name]
            yield from reached_by(member.inside(name), keep(tree, chosen[0]) if chosen else tree)


def groups_of(params: Any, entries: dict[str, Any], groups: list[TorchGroup]) -> Groups:
    """The groups of the arrays; where no array has a name, that which all groups are."""
    plain = [{key: x for key, x in group.items() if key not in ("params", "param_names")} for group in groups]
    if not entries and plain and all(x == plain[0] for x in plain):
        return {path: groups[0] for path, x in paths_and_leaves(params) if x is not None}
    return {path: entry.group for path, entry in entries.items()}


def require_same_descent(several: list[Reached], groups: Groups) -> None:
    """Refuse the state of an optimizer that climbs, or lets the parameters decay in another way."""
    for path, group in groups.items():
        own = [x for x in several if path in x.paths]
        if not any(x.moves for x in own):
            continue
        if group.get("maximize"):
            remedy = "its moments are those of the gradients of -f: minimize that, and hand them in with maximize=False"
            raise Refusal(ValueError, f"torch has maximize=True for {path}; {remedy}")
        require_same_decay(path, group, own)


def require_same_decay(path: str, group: TorchGroup, own: list[Reached]) -> None:
    if any(x.is_unknown for x in own):
        return  # which may be a decay
    names = [name for name in ("weight_decay", "lambd") if name in group]  # the second is ASGD's
    theirs = sum([float(group[name]) for name in names], 0.0)
    called = f"torch's {' + '.join(names) or 'weight_decay'} of {path}"
    rows = [i for i, x in enumerate(own) if x.is_row]
    decays = {i: x.member.tx.weight_decay for i, x in enumerate(own) if x.recipe is add_decayed_weights}
    always_behind = is_of_muon(group) or is_of_adafactor(group)
    unsaid = None if "amsgrad" in group else False  # an older AdamW has no mark
    behind = group.get("decoupled_weight_decay", True if always_behind else unsaid)
    if is_of_adafactor(group) and any(not any(x.is_rate for x in own[i:]) for i in decays):
        theirs *= float(group["lr"])  # here behind the rate
    row = own[rows[0]].member.name if rows else "scale_by_learning_rate"
    place = f"{'behind' if behind else 'ahead of'} {row}"
    if not any(map(callable, decays.values())):
        ours = float(sum(decays.values()))
        if not np.isclose(ours, theirs, rtol=1e-5, atol=0.0):
            problem = f"{called} is {theirs:g} in the state, and {ours:g} in the transformation"
            other = "take over with the number of the state, and change it behind that"
            raise Refusal(ValueError, f"{problem}; {other if ours else f'put add_decayed_weights there, {place}'}")
    if theirs and rows and behind is not None and any((i > rows[-1]) != bool(behind) for i in decays):
        raise Refusal(ValueError, f"{called} stands elsewhere; put add_decayed_weights {place}")


def rate_in_torch(rate: Reached, several: list[Reached], groups: Groups) -> float | None:
    """The one rate that torch has for the arrays of a part, without the factors that stand behind it here."""
    theirs = {path: float(group["lr"]) for path, group in groups.items() if path in rate.paths}
    if len(set(theirs.values())) > 1:
        factors = {path: factor_behind(path, rate, several) for path in theirs}
        theirs = {path: theirs[path] / factor for path, factor in factors.items() if factor}
    decaying = [path for path, group in groups.items() if path in rate.paths and group.get("lr_decay")]
    if decaying and not callable(rate.member.tx.learning_rate):
        problem = f"torch has lr_decay={groups[decaying[0]]['lr_decay']:g} for {list_some(decaying)}"
        raise Refusal(ValueError, f"{problem}, and learning_rate is a constant; give a schedule that falls like it")
    rates = list(theirs.values())
    if rates and not np.allclose(rates, rates[0], rtol=1e-5, atol=0.0):
        words = list_some(f"{x:g} for {path}" for path, x in theirs.items())
        problem = f"torch's groups have the rates {words}, and {rate.member.name} has one for all"
        raise Refusal(ValueError, f"{problem}; give each its own by partition")
    return rates[0] if rates else None


def factor_behind(path: str, rate: Reached, several: list[Reached]) -> float | None:
    """What a part makes of the updates of an array behind the optimizer; None where that is not known."""
    own = [x for x in several if path in x.paths]
    start = max([i for i, x in enumerate(own) if x.is_row], default=own.index(rate))
    factor = 1.0
    for x in own[start:]:
        if x.is_unknown or x.recipe in (layerwise, scale_by_tree):
            return None
        if x.recipe is scale:
            if callable(x.member.tx.factor):
                return None
            factor *= float(x.member.tx.factor)
    return factor


def require_same_schedules(one: Reached, groups: Groups) -> None:
    """Refuse a state of ASGD with other numbers than those inside of the schedules here."""
    own = [group for path, group in groups.items() if path in one.paths]
    known = one.member.tx.arguments.values() if one.recipe in (scale_by_learning_rate, average_parameters) else ()
    for schedule in known:
        for name, (ours, theirs) in OF_ASGD.get(getattr(schedule, "recipe", None), {}).items():
            for group in own:
                require_equal(
                    schedule.arguments[name], group.get(theirs), f"torch's {theirs}", f"{ours} is {{:g}} in asgd"
                )


def numbers_in_torch(one: Reached, several: list[Reached], groups: Groups) -> dict[str, Any]:
    """The numbers that torch has of the hyperparameters of a part; those that are plain here must be the same."""
    require_same_schedules(one, groups)
    if one.is_rate:
        rate = rate_in_torch(one, several, groups)
        require_same_number(one.member, "learning_rate", rate, "lr")
        return dict(learning_rate=rate)
    own = [group for path, group in groups.items() if path in one.paths]
    if one.recipe is add_decayed_weights:
        return dict(weight_decay=own[0].get("weight_decay", 0.0)) if own else {}
    row = TORCH_ROWS.get(type(one.member.state))
    return {name: get(own[0]) for name, get in row.numbers.items()} if row and own else {}
