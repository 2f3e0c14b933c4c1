"""Why a law does not apply to a subject: a sentence, or nothing where it applies."""

from typing import Any

import jax
import jax.numpy as jnp

import gradtx as gx
from gradtx.core.walk import walk
from gradtx.testing.subject import Subject

NO_HYPERPARAMETER = "no argument is a hyperparameter, as gradtx.Scalar makes one"

# ---- what a value has ----


def plain_pair(subject: Subject) -> str:
    return "" if isinstance(subject.tx, gx.Transformation) else "it is a plain pair"


def without_leaves(subject: Subject) -> str:
    return plain_pair(subject) or ("" if jax.tree.leaves(subject.value) else "it has no numbers")


def without_effect(subject: Subject) -> str:
    if plain_pair(subject) or subject.used:
        return plain_pair(subject)
    return "none of its numbers changes its updates" if subject.numbers else NO_HYPERPARAMETER


def without_schedules(subject: Subject) -> str:
    if plain_pair(subject) or subject.own_count:
        return plain_pair(subject) or "its schedules count something else than the updates"
    return "" if subject.schedulable else NO_HYPERPARAMETER


# ---- what there is to run on ----


def on_one_device(subject: Subject) -> str:
    flag = "XLA_FLAGS=--xla_force_host_platform_device_count=8"
    return "" if len(jax.devices()) > 1 else f"there is one device, of which {flag} makes eight"


# ---- what a state has ----


def without_state(subject: Subject) -> str:
    return "" if state_leaves(subject) != [] else "its state holds no arrays"


def without_floats(subject: Subject) -> str:
    if subject.copies_params:
        return "it keeps copies of the parameters"
    if holds_codes(subject):
        return "a codec says how its state is held"
    leaves = state_leaves(subject)
    inexact = leaves is None or any(jnp.issubdtype(x.dtype, jnp.inexact) for x in leaves)
    return "" if inexact else "its state holds no floating-point numbers"


def holds_codes(subject: Subject) -> bool:
    return any(getattr(node.tx, "recipe", None) is gx.hold for node in walk(subject.tx))


def draws_noise(subject: Subject) -> bool:
    return any(getattr(node.tx, "recipe", None) in (gx.add_noise, gx.private) for node in walk(subject.tx))


def state_leaves(subject: Subject) -> list[Any] | None:
    """The arrays of a fresh state, by their shapes; None where `init` raises, which is for the laws to report."""
    try:
        return jax.tree.leaves(subject.fresh_state)
    except Exception:
        return None


# ---- what its author says ----


def selective(subject: Subject) -> str:
    return "it leaves some arrays alone, whatever they are" if subject.selects else ""


def writing_parameters(subject: Subject) -> str:
    return "its updates are what makes parameters of 16 bits others of 16 bits" if subject.writes else ""


def not_pairwise(subject: Subject) -> str:
    return "" if subject.pairs else "it takes a complex number for one thing"
