"""What to do about an error that a law met: a clause for those that authors meet most, and the line it comes from."""

import os
import traceback
from pathlib import Path

import jax
import numpy as np
import optax

import gradtx as gx

WITH_JNP = "compute with jnp and choose by jnp.where: what is traced can't decide in Python, nor go to NumPy or float"
AT_THE_TOP = "define the factory at the top of a module, not in a function"
COPY = "make an array of its own in init, by jnp.array(x, copy=True)"
EXTRA = "give the check what update takes, extra=lambda updates, params: dict(value=…)"
SAFE = "put a safe number in by jnp.where before what divides or takes a root: one behind it comes too late"
NO_SLOPE = "jnp.sqrt, a norm or a power at 0 has no finite slope: put a small number, such as 1e-30, under the root"
BY_WORDS = {  # of the error's kind and message
    "ConcretizationTypeError": WITH_JNP,
    "TracerBoolConversionError": WITH_JNP,
    "TracerArrayConversionError": WITH_JNP,
    "TracerIntegerConversionError": WITH_JNP,
    "call update(updates, state, params, ": EXTRA,
    "required keyword-only argument": f"{EXTRA}; chains hand it on to optax.GradientTransformationExtraArgs alone",
    "must have equal types": "give updates the dtypes of the gradients, and the state those that init gave it",
    "donate the same buffer twice": COPY,
    "Leaked trace": "keep no array of init or update outside of them, in a global or an attribute",
    "Can't pickle": AT_THE_TOP,
    "Can't get local object": AT_THE_TOP,  # as Python 3.12 says it
    "Disallowed host-to-device transfer": "make arrays of those that are there, jnp.zeros_like(g), and not of NumPy's",
    "invalid value (nan)": SAFE,
}
LIBRARIES = tuple([f"{Path(str(module.__file__)).parent}{os.sep}" for module in (gx, jax, np, optax, os)])


def remedy_of(error: Exception) -> str:
    words = f"{type(error).__name__}: {error}"
    return next((remedy for part, remedy in BY_WORDS.items() if part in words), "")


def line_in_question(error: Exception) -> str:
    """The last line on the way to an error that is in none of the libraries, in parentheses."""
    own = [x for x in traceback.extract_tb(error.__traceback__) if not x.filename.startswith((*LIBRARIES, "<"))]
    return f" (line {own[-1].lineno} of {Path(own[-1].filename).name})" if own else ""
