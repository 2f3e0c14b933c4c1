"""The laws of what `init` and `update` compute: pure functions that keep the form of their state."""

from contextlib import AbstractContextManager
from itertools import zip_longest
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gradtx as gx
from gradtx.core.check import is_key
from gradtx.testing.examples import (
    FEW,
    Example,
    each_pair,
    everything,
    example,
    f32,
    few,
    few_wide,
    form,
    normal,
)
from gradtx.testing.excuses import holds_codes, without_floats, writing_parameters
from gradtx.testing.law import Broken, exact, finite, in_one_line, law, leaves_by_path, lines_of, same, same_form
from gradtx.testing.remedies import NO_SLOPE
from gradtx.testing.subject import Subject, stack

# ---- dtypes ----


@law(on=each_pair, remedy="let init make what update returns: arrays in place of Python numbers, in the same dtypes")
def state_keeps_its_form(subject: Subject, example: Example) -> None:
    """The state after an update has the structure, shapes, dtypes and weak types that `init` gave."""
    state, _, after = subject.traced(example)
    same_form(state, after, "state", "after init", "after an update")
    if not subject.must_have_params:
        state, _, after = traced_without_params(subject, example)
        same_form(state, after, "state", "after init", "after an update without params")


def traced_without_params(subject: Subject, example: Example) -> Any:
    try:
        return subject.traced(example, with_params=False)
    except Exception as error:
        remedy = "needs_params=True is for what can't do without them"
        raise Broken("no error without params", in_one_line(error), remedy=remedy) from error


@law(
    on=each_pair,
    excuse=without_floats,
    remedy="make it in jnp.promote_types(p.dtype, jnp.float32); copies_params=True is for copies of the parameters",
)
def state_is_at_least_float32(subject: Subject, example: Example) -> None:
    """A state is held in at least float32, whatever the dtype of the parameters."""
    for path, x in leaves_by_path(subject.traced(example)[0]).items():
        if jnp.issubdtype(x.dtype, jnp.inexact) and jnp.finfo(x.dtype).bits < 32:
            raise Broken("a state of at least float32", f"state{path} {form(x)}")


@law(on=each_pair, remedy="cast at the end: u.astype(jnp.promote_types(p.dtype, g.dtype)), without params g.dtype")
def updates_leave_in_the_wider_dtype(subject: Subject, example: Example) -> None:
    """An update has its parameter's shape and the wider of both dtypes; without parameters, the gradient's own. What
    makes a parameter another one to the bit is not below float32.
    """

    def wider(p: Any, g: Any) -> Any:
        dtype = jnp.promote_types(p.dtype, g.dtype)
        return jax.ShapeDtypeStruct(g.shape, jnp.promote_types(dtype, f32) if subject.writes else dtype)

    def strict(tree: Any) -> Any:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)

    updates = subject.traced(example)[1]
    same_form(jax.tree.map(wider, example.params, example.updates), strict(updates), "updates", "", "")
    if not subject.must_have_params:
        updates = traced_without_params(subject, example)[1]
        same_form(example.updates, strict(updates), "updates", "without params", "")


@law(on=everything, remedy="name the dtypes in init and update: jnp.float32, jnp.int32")
def without_x64_the_state_keeps_its_form(subject: Subject, example: Example) -> None:
    """Without JAX's 64-bit types, too, the state keeps its form, and holds float32, 32-bit integers and bools."""
    with without_x64():
        params, (g,) = example.filled(1)
        state = subject.tx.init(params)
        _, after = jax.eval_shape(lambda *args: subject.update(*args), g, state, params)
        same_form(state, after, "state", "after init", "after an update")
        narrow = holds_codes(subject)  # as a codec says
        for path, x in leaves_by_path(state).items():
            x = x if hasattr(x, "dtype") else jnp.asarray(x)
            is_other = jnp.issubdtype(x.dtype, jnp.inexact) and x.dtype != f32 and not narrow
            if (x.dtype.itemsize > 4 and not is_key(x)) or is_other:
                raise Broken("a state of float32, 32-bit integers and bools", f"state{path} {form(x)}")


def without_x64() -> AbstractContextManager[Any]:
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(False)
    from jax.experimental import disable_x64  # pyright: ignore[reportAttributeAccessIssue]  # JAX below 0.8

    return disable_x64()


@law(
    on=lambda subject: [example(FEW, [(jnp.float16, jnp.float16)])],
    excuse=writing_parameters,
    remedy="compute with g.astype(jnp.float32), and cast what comes out",
)
def half_precision_computes_in_float32(subject: Subject, example: Example) -> None:
    """Updates of float16 gradients of a few hundreds are those of the same numbers in float32, rounded once."""

    def run(params: Any, gradients: list[Any]) -> Any:
        state, out = subject.tx.init(params), []
        for g in gradients:
            u, state = subject.step(g, state, params)
            out.append(u)
        return out

    params, gradients = example.filled(3)
    halves = params, jax.tree.map(lambda g: 300 * g, gradients)
    got, expected = run(*halves), run(*jax.tree.map(lambda x: x.astype(f32), halves))
    rounded = jax.tree.map(lambda u: u.astype(jnp.float16), expected)
    same(rounded, got, "updates", "in float32", "in float16", rtol=2e-3, atol=1e-6)


# ---- pure ----


@law(on=few, remedy="what changes from call to call belongs in the state")
def same_arguments_same_result(subject: Subject, example: Example) -> None:
    """The same arguments give the same result and the same program, and stay as they were."""
    params, (g,) = example.filled(1)
    state = subject.tx.init(params)
    before = jax.tree.map(lambda x: jnp.array(x, copy=True), (params, g, state))
    first, second = (subject.step(g, state, params) for _ in range(2))
    same(first, second, "result", "the first time", "the second")
    same(before, (params, g, state), "arguments", "before the update", "after it")
    one, other = subject.program(g, state, params), subject.program_again(g, state, params)
    same(one.consts, other.consts, "constants of the program", "", "when it is traced again")
    for wanted, came in zip_longest(lines_of(one), lines_of(other), fillvalue="nothing"):
        if wanted != came:
            raise Broken(f"`{wanted:.80}` in the program", f"`{came:.80}` when it is traced again")


@law(on=few_wide, remedy="let nothing turn on whether an array is traced")
def eager_jitted_and_as_written_agree(subject: Subject, example: Example) -> None:
    """An update gives the same outside `jit`, inside it, and under `jax.disable_jit`."""
    params, (g,) = example.filled(1)
    state = subject.tx.init(params)
    eager = subject.update(g, state, params)
    jitted = subject.step(g, state, params)
    with jax.disable_jit():
        written = subject.update(g, state, params)
    rtol, atol = exact(1e-5, 1e-13), exact(1e-6, 0.0)
    same(eager, jitted, "result", "outside jit", "under jit", rtol, atol)
    same(eager, written, "result", "outside jit", "under disable_jit", rtol, atol)


@law(on=few, remedy="return the state as init made it, and let no number decide in Python")
def second_call_traces_nothing(subject: Subject, example: Example) -> None:
    """A compiled update is traced once; other numbers among a value's hyperparameters cost no second trace."""
    traces = []

    def one(tx: Any, g: Any, state: Any, params: Any) -> Any:
        traces.append(1)
        return subject.update(g, state, params, tx=tx)

    is_value = isinstance(subject.tx, gx.Transformation)
    step = jax.jit(one, static_argnums=() if is_value else 0)  # of its own: another law's may know all forms already
    params, gradients = example.filled(3)
    first = state = subject.tx.init(params)
    for i, g in enumerate(gradients, 1):
        step.eval_shape(subject.tx, g, state, params)  # looks for a trace, and compiles nothing
        if len(traces) > 1:
            same_form(first, state, "state", "at the first update", f"at update {i}, which was traced again")
            raise Broken("one trace", f"a second one at update {i}")
        _, state = subject.step(g, state, params)
    for path, x in subject.numbers.items() if is_value else ():
        other = subject.value.replace(**{path: x + 1 if isinstance(x, int) else x * 0.9})
        step.eval_shape(other, gradients[0], first, params)
        if len(traces) > 1:
            raise Broken("one trace", f"a second one where {path} is another number")


@law(on=few, remedy="what changes from step to step belongs in the state, and arrays are for jnp to compute with")
def scan_and_cond_equal_a_loop(subject: Subject, example: Example) -> None:
    """An update runs in `scan` and `cond`, with the updates of a loop."""
    params, gradients = example.filled(3)

    def body(carry: Any, g: Any) -> Any:
        params, state = carry
        skipped = jax.tree.map(jnp.zeros_like, g), state
        u, state = jax.lax.cond(True, lambda: subject.update(g, state, params), lambda: skipped)
        return (gx.apply_updates(params, u), state), u

    _, scanned = jax.lax.scan(body, (params, subject.tx.init(params)), stack(gradients))
    looped, _ = subject.run(params, gradients)
    # Outside of `jit` the numbers are float32 arguments, where a formula's 1 - 0.999 is off by 1e-5.
    same(stack(looped), scanned, "updates", "in a loop", "in scan", rtol=2e-5, atol=1e-7)


@law(on=few)
def vmap_equals_one_at_a_time(subject: Subject, example: Example) -> None:
    """Under `vmap` over gradients and parameters each gets the update that it gets alone."""
    trees = [normal(example.params, seed) for seed in (1, 2, 3)]
    tx = with_float32_numbers(subject)
    step = jax.vmap(lambda g: subject.first(g, g, tx))
    together = jax.jit(step)(stack(trees))
    alone = stack([subject.first(one, one, tx) for one in trees])
    same(alone, together, "updates", "one at a time", "under vmap", rtol=2e-5)


def with_float32_numbers(subject: Subject) -> Any:
    is_value = isinstance(subject.tx, gx.Transformation)
    return jax.tree.map(np.float32, subject.tx) if is_value else subject.tx


@law(on=few, remedy=f"{NO_SLOPE}; where jnp.where leaves a branch out, too")
def differentiates(subject: Subject, example: Example) -> None:
    """The gradient through an update, by the gradients and by a value's hyperparameters, is finite."""
    by_g, by_tx = subject.slope(normal(example.params, 1))
    finite(by_g, "the gradient by the updates")
    # An int has no gradient.
    real = {path: x for path, x in leaves_by_path(by_tx).items() if x.dtype != jax.dtypes.float0}
    finite(real, "the gradient by the value")
    if isinstance(subject.tx, gx.Transformation) and jax.tree.structure(by_tx) != jax.tree.structure(subject.tx):
        raise Broken("a gradient of the value's structure", "another one")
