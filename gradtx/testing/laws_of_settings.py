"""The laws under JAX's strict settings: leaks, promotion of dtypes, transfers, NaNs."""

from typing import Any

import jax
import jax.numpy as jnp

import gradtx as gx
from gradtx.testing.examples import FEW, Example, example, f32, few, few_wide, in_all_pairs
from gradtx.testing.law import Broken, breach_of, law
from gradtx.testing.subject import Subject


def trace(subject: Subject, example: Example) -> None:
    """Trace `init` and `update` anew, as they are and with a schedule in the place of each number."""
    trace_with(subject, example, subject.tx)
    if not isinstance(subject.tx, gx.Transformation) or not subject.used:
        return
    schedules = {path: gx.linear(x, x, 2) for path, x in subject.used.items() if path in subject.schedulable}
    breach = breach_of(lambda: trace_with(subject, example, subject.value.replace(**schedules)))  # made here, too
    if breach:
        words = "no error with schedules for its numbers"
        raise Broken(words, breach.got, remedy=breach.remedy) from breach.__cause__


def trace_with(subject: Subject, example: Example, tx: Any) -> None:
    state = jax.eval_shape(lambda params: tx.init(params), example.params)
    jax.eval_shape(lambda *args: subject.update(*args, tx=tx), example.updates, state, example.params)


@law(on=few)
def no_tracer_leaks(subject: Subject, example: Example) -> None:
    """Under `jax.checking_leaks`, no array of a traced `init` or `update` stays outside, with schedules neither."""
    with jax.checking_leaks():
        trace(subject, example)


def in_one_dtype(subject: Subject) -> list[Example]:
    """Each dtype with itself: what is mixed by the user alone is not the transformation's to refuse."""
    pairs = [(x, x) for x in (f32, jnp.bfloat16, jnp.complex64)]
    return [in_all_pairs(pairs)] if subject.elementwise else [example(FEW, [pair]) for pair in pairs[:2]]


@law(on=in_one_dtype)
def dtypes_meet_explicitly(subject: Subject, example: Example) -> None:
    """With `jax_numpy_dtype_promotion="strict"` it works on updates of their parameters' dtypes."""
    with jax.numpy_dtype_promotion("strict"):
        trace(subject, example)


@law(on=few_wide)
def update_transfers_nothing(subject: Subject, example: Example) -> None:
    """With the value on the device, under `jax.transfer_guard("disallow")`, an update moves nothing there or back."""
    is_value = isinstance(subject.tx, gx.Transformation)
    tx = jax.device_put(subject.tx) if is_value else subject.tx
    params, (g,) = example.filled(1)
    state = jax.device_put(subject.tx.init(params))
    eager = is_value and not subject.takes_functions(g, params)  # else it runs as written, a transfer for each number
    extra = jax.device_put(subject.extra(g, params)) if eager else {}
    with jax.transfer_guard("disallow"):
        jax.eval_shape(lambda *args: subject.update(*args, tx=tx), g, state, params)
        subject.step(g, state, params, tx)
        if eager:
            tx.update(g, state, params, **extra)


@law(on=few_wide)
def no_nan_on_the_way(subject: Subject, example: Example) -> None:
    """Under `jax_debug_nans`, no update makes a NaN, of zeros neither, and no operation of it as it is written.

    What searches along a loss is only looked at as a whole: it may try steps, find NaN there, and turn back.
    """
    some, (g,) = example.filled(1)
    zeros = jax.tree.map(jnp.zeros_like, some)
    for params, updates in ((some, g), (zeros, zeros)):
        state = subject.tx.init(params)
        with jax.debug_nans(True):
            subject.step(updates, state, params)
            if not subject.takes_functions(updates, params):
                with jax.disable_jit():
                    subject.update(updates, state, params)
