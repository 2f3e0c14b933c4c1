"""The counts and the schedules of a part after so many updates."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from gradtx.checkpoints.fit import as_held
from gradtx.checkpoints.members import Member
from gradtx.core.count import as_count, value_at
from gradtx.core.walk import state_at, with_state_at
from gradtx.transforms.momentum import BiasCorrectionState
from gradtx.transforms.rate import ScaleByLearningRateState
from gradtx.values.errors import Refusal
from gradtx.values.recipe import Controlled

Given = Callable[[str], Any]  # the number that the peer has of a hyperparameter, None where it has none


def with_counts(own: Any, member: Member, steps: Any, given: Given) -> Any:
    """The state of the whole with the counts and numbers of a part as they are after so many updates."""
    assert member.node
    state = state_at(own, member.keys)
    if isinstance(state, ScaleByLearningRateState):
        own = with_state_at(own, member.keys, with_numbers(member, state, ["learning_rate"], steps, given))
    elif isinstance(state, BiasCorrectionState):
        own = with_state_at(own, member.keys, BiasCorrectionState(counted(member, steps, state.count, needed=True)))
    if member.is_scheduled:
        held = state_at(own, member.node.keys)
        own = with_state_at(own, member.node.keys, with_numbers(member, held, list(held.hyperparams), steps, given))
    return own


def with_numbers(member: Member, state: Any, names: list[str], steps: Any, given: Given) -> Any:
    """The state of schedules, or of the rate, which has its one number beside the count."""
    several = getattr(state, "hyperparams", None)
    held = state._asdict() if several is None else several
    numbers = {name: number_after(member, name, steps, held[name], given) for name in names}
    needed = any(is_schedule(member.tx.arguments[name]) for name in names)
    fields = numbers if several is None else dict(hyperparams=numbers)
    return state._replace(count=counted(member, steps, state.count, needed), **fields)


def counted(member: Member, steps: Any, held: Any, needed: bool = False) -> Any:
    """The number of updates done so far; as it was where nothing counted them, and nothing needs it."""
    if steps is None:
        if needed:
            problem = f"the state counts no updates, and {member.name} needs that number"
            raise Refusal(
                ValueError, f"{problem}; start it anew with init, or give a constant in the place of a schedule"
            )
        return held
    return as_held(as_count(steps), held)


def number_after(member: Member, name: str, steps: Any, held: Any, given: Given) -> Any:
    """What a hyperparameter was at the last update; a controlled one is what the peer has of it."""
    value = member.tx.arguments[name]
    if is_schedule(value):
        return held if steps is None else as_held(value_at(value, jnp.maximum(as_count(steps) - 1, 0)), held)
    other = given(name) if isinstance(value, Controlled) else None
    return held if other is None else as_held(other, held)


def is_schedule(value: Any) -> bool:
    return callable(value) and not isinstance(value, Controlled)


def require_same_number(member: Member, name: str, other: Any, called: str) -> None:
    """Refuse a state with another number than that which the transformation would go on with."""
    require_equal(member.tx.arguments[name], other, called, f"{name} is {{:g}} in {member.name}")


def require_equal(own: Any, other: Any, called: str, words: str) -> None:
    """Refuse another number in the state than an own one, of which these are the words."""
    if (
        not callable(own)
        and other is not None
        and not jnp.isclose(own, jnp.asarray(other, jnp.result_type(float)), rtol=1e-5, atol=0.0)
    ):
        problem = f"{called} is {float(other):g} in the state, and {words.format(float(own))}"
        raise Refusal(ValueError, f"{problem}; take over with the number of the state, and change it behind that")
