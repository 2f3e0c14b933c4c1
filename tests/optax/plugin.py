"""A pytest plugin that puts gradtx's names in the places of Optax's, before any test of Optax is imported."""

import sys
from typing import Any

import optax
from absl import flags

import gradtx.optax
from gradtx.optax import contrib, schedules, transforms

PAIRS = [(gradtx.optax, optax), (schedules, optax.schedules), (transforms, optax.transforms), (contrib, optax.contrib)]


def replacements() -> dict[int, Any]:
    """gradtx's objects by the identities of Optax's that they stand for."""
    found: dict[int, Any] = {}
    for ours, theirs in PAIRS:
        for name in dir(theirs):
            if not name.startswith("__") and not isinstance(getattr(theirs, name), type(sys)):
                own, original = getattr(ours, name), getattr(theirs, name)
                if own is not original:
                    found[id(original)] = own
    return found


def replace() -> int:
    """Put them into all modules of Optax; how many places that were."""
    own, places = replacements(), 0
    for module in [module for name, module in sys.modules.items() if name.partition(".")[0] == "optax"]:
        for name, x in list(vars(module).items()):
            if id(x) in own:
                setattr(module, name, own[id(x)])
                places += 1
    return places


def pytest_configure() -> None:
    flags.FLAGS(["pytest"])  # Chex reads some
    assert replace() > 100
