"""Whether an error is a refusal of gradtx's own, or one that came up somewhere by itself."""

import re
import traceback
from pathlib import Path

import optax

import gradtx

PACKAGE = str(Path(gradtx.__file__).parent)
OPTAX = str(Path(optax.__file__).parent)
CALLERS = str(Path(__file__).with_name("chains.py"))  # whose functions of parameters stand for those of users
NAMED = re.compile(r"[\w.]+: \S")  # who refuses it


def is_refusal(error: BaseException) -> bool:
    """Whether gradtx itself raised it, and says who refuses what. JAX must not filter tracebacks: it would leave out
    where an error of its own was raised.
    """
    frames = traceback.extract_tb(error.__traceback__)
    raised = bool(frames) and frames[-1].filename.startswith(PACKAGE) and (frames[-1].line or "").startswith("raise ")
    return raised and isinstance(error, TypeError | ValueError) and bool(NAMED.match(str(error)))


def is_callers(error: BaseException) -> bool:
    """Whether it came up in a function of the caller's, as a loss that is given other parameters than it knows."""
    return any(
        frame.filename == CALLERS and frame.name == "of_params" for frame in traceback.extract_tb(error.__traceback__)
    )


def is_optaxs(error: BaseException) -> bool:
    """Whether it came up in a part of Optax's, which says in its own words what is wrong."""
    return any(frame.filename.startswith(OPTAX) for frame in traceback.extract_tb(error.__traceback__))


def require_refusal(error: Exception) -> None:
    """Let any other error go on: it is a bug."""
    if not is_refusal(error):
        error.add_note("it is no refusal")
        raise error
