"""The laws of leaves that are special: shared, absent, of the wrong kind or shape, zero, empty, complex."""

import functools
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gradtx as gx
from gradtx.core.held import decode_all
from gradtx.testing.examples import MATRIX, VECTOR, Example, array, describe_tree, everything, example, few, widest
from gradtx.testing.excuses import draws_noise, not_pairwise, selective, without_state
from gradtx.testing.law import (
    Broken,
    breach_of,
    exact,
    finite,
    in_one_line,
    law,
    leaves_by_path,
    same,
    same_form,
    without_weak_types,
)
from gradtx.testing.remedies import COPY, NO_SLOPE, remedy_of
from gradtx.testing.subject import Subject

# ---- shared ----


@law(on=few, excuse=without_state, remedy=COPY)
def init_aliases_nothing(subject: Subject, example: Example) -> None:
    """A fresh state shares no buffer with the parameters or with another one, and so can be donated."""
    params, _ = example.filled(0)
    first, state = subject.tx.init(params), subject.tx.init(params)
    held = {id(x): f"state{path} of another init" for path, x in leaves_by_path(first).items()}
    held |= {id(x): f"params{path}" for path, x in leaves_by_path(params).items()}
    for path, x in leaves_by_path(state).items():
        if id(x) in held and isinstance(x, jax.Array):
            raise Broken("buffers of its own in a fresh state", f"state{path} is the buffer of {held[id(x)]}")
        held[id(x)] = f"state{path}"

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Some donated buffers were not usable")
        donate(params, state)


@functools.partial(jax.jit, donate_argnums=(0, 1))
def donate(params: Any, state: Any) -> Any:
    """As a step does it; that two arrays are one buffer is seen where they are handed over, whatever is computed."""
    return jax.tree.map(jnp.copy, (params, state))


# ---- absent ----


def partly_none(subject: Subject) -> list[Example]:
    def still(one: Example) -> Example:
        params = {"moving": one.params, "still": array(4), "frozen": None}
        return Example(params, {"moving": one.updates, "still": None, "frozen": None}, list(map(still, one.smaller)))

    return [still(example({"w": MATRIX, "list": [array(), array(0, 2)]}))]


@law(
    on=partly_none,
    remedy="where an update is None, return None and the state that there was, as gradtx.per_array does",
    special=True,
)
def none_passes_through(subject: Subject, example: Example) -> None:
    """Where the updates hold None, there is no update, and the state keeps its form."""
    params, (g,) = example.filled(1)
    state = subject.tx.init(params)
    u, after = jax.eval_shape(lambda *args: subject.update(*args), g, state, params)
    same_form(without_weak_types(g), without_weak_types(u), "updates", "like the gradients", "")
    same_form(state, after, "state", "after init", "after an update")
    moves = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), u)
    if gx.apply_updates(params, moves)["still"] is not params["still"]:
        raise Broken("a parameter that stays", "another array")


# ---- of the wrong kind or shape ----


def with_integer(subject: Subject) -> list[Example]:
    return [Example(params := {"w": array(2), "step": jax.ShapeDtypeStruct((), jnp.int32)}, params)]


@law(
    on=with_integer,
    remedy="make no state for an integer, and take its update for None, as gradtx.per_array does",
    special=True,
)
def integer_leaf_stays(subject: Subject, example: Example) -> None:
    """An integer parameter has no state, and no update where the gradients hold None or `float0` in its place."""
    params: Any = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), example.params)
    without: Any = {**params, "step": None}
    tx: Any = subject.tx
    state, extra = tx.init(params), subject.extra(without, params)
    same_form(tx.init(without), state, "state", "as without the integer", "with it")
    for nothing in (None, np.zeros((), jax.dtypes.float0)):
        u, after = tx.update({**params, "step": nothing}, state, params, **extra)
        if u["step"] is not None:
            raise Broken("no update of the integer", describe_tree(u))
        same_form(state, after, "state", "after init", "after an update")


@law(
    on=with_integer,
    excuse=selective,
    remedy="look at the dtypes, as gradtx.per_array does; selects=True is for what leaves some arrays alone",
    special=True,
)
def integer_update_is_refused(subject: Subject, example: Example) -> None:
    """An integer in the place of an update is refused with a `TypeError` that names the leaf and its dtype."""
    params: Any = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), example.params)
    without: Any = {**params, "step": None}
    state = subject.tx.init(without)
    call = functools.partial(subject.update, params, state, params if subject.must_have_params else None)
    require_refusal(call, TypeError, "['step']", "int32", "update")


def wrong_shapes(subject: Subject) -> list[Example]:
    def one_row(p: Any) -> Example:
        return Example({"w": p}, {"w": array(1, *p.shape[1:])})

    whole = one_row(MATRIX)
    return [Example(whole.params, whole.updates, [one_row(VECTOR)])]


@law(
    on=wrong_shapes,
    remedy="compare the shapes with those of the parameters, as gradtx.per_array does",
    special=True,
)
def wrong_shape_is_refused(subject: Subject, example: Example) -> None:
    """An update that does not have its parameter's shape is refused with an error that names the leaf and the shape."""
    state = jax.eval_shape(subject.tx.init, example.params)
    call = functools.partial(jax.eval_shape, lambda *args: subject.update(*args)[0], example.updates, state)
    require_refusal(
        lambda: call(example.params), (TypeError, ValueError), "['w']", str(example.updates["w"].shape), "update"
    )


def require_refusal(call: Any, kind: Any, leaf: str, what: str, name: str) -> None:
    expected = f"an error of {name} that names {leaf} and {what}"
    try:
        accepted = call()
    except Exception as error:
        if not (isinstance(error, kind) and leaf in str(error) and what in str(error)):
            raise Broken(expected, in_one_line(error), remedy=remedy_of(error)) from error
    else:
        raise Broken(expected, f"{describe_tree(accepted) if name == 'update' else 'a state'}, in silence")


# ---- zero and empty ----


@law(on=everything, remedy="divide by what is never zero: x + eps, or jnp.where(x == 0, 1, x)")
def zeros_stay_finite(subject: Subject, example: Example) -> None:
    """Zero gradients of zero parameters give finite updates and states."""
    check_steps(subject, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), example.params), subject.step)


def empty(subject: Subject) -> list[Example]:
    trees: list[Any] = [{}, [], array(0, 3)]
    return [Example(x, x) for x in (trees if subject.must_have_params else [*trees, None])]


@law(
    on=empty,
    remedy="begin sums and maxima over the arrays with a number, and divide by no size that may be 0",
    special=True,
)
def empty_trees_stay_empty(subject: Subject, example: Example) -> None:
    """Trees without leaves, None, and arrays without elements get updates like them, and a finite state."""
    params = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), example.params)
    at_once = not jax.tree.leaves(params) and not subject.takes_functions(params, params)
    check_steps(subject, params, subject.update if at_once else subject.step)


def check_steps(subject: Subject, zeros: Any, step: Any) -> None:
    state = subject.tx.init(zeros)
    for _ in range(3):
        u, state = step(zeros, state, zeros)
        if jax.tree.structure(u) != jax.tree.structure(zeros):
            remedy = "return an update for each gradient, in the gradients' tree"
            raise Broken("updates of the gradients' structure", f"{describe_tree(u):.80}", remedy=remedy)
        finite(u, "updates")
        finite(state, "state")


@law(on=few, remedy=NO_SLOPE)
def gradient_at_zero_is_finite(subject: Subject, example: Example) -> None:
    """The gradient through an update of zeros is finite, compiled and outside of `jit`."""
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), example.params)
    finite(subject.slope(zeros)[0], "the gradient")
    if not subject.takes_functions(zeros, zeros):
        finite(jax.grad(subject.first_sum)(zeros), "the gradient outside of jit")


# ---- complex ----


def complex_arrays(subject: Subject) -> list[Example]:
    return [example({"w": MATRIX, "b": array(4)}, [(widest(complex), widest(complex))])]


@law(
    on=complex_arrays,
    excuse=not_pairwise,
    remedy="gradtx.per_array makes pairs of complex numbers; pairs=False is for what takes one for one thing",
)
def complex_is_a_pair_of_reals(subject: Subject, example: Example) -> None:
    """A complex array gets the updates and the state of its real and imaginary parts, stacked in front."""

    def as_pairs(tree: Any) -> Any:
        return jax.tree.map(lambda x: jnp.asarray(np.stack([np.real(x), np.imag(x)])), tree)

    params, gradients = example.filled(3)
    got, state = subject.run(params, gradients)
    expected, of_pairs = subject.run(as_pairs(params), [as_pairs(g) for g in gradients])
    compare = functools.partial(same, before="as pairs", after="as complex numbers")
    noisy = draws_noise(subject)  # in float32, whose last digits turn on the program
    loose, least = (2e-5, 1e-6) if noisy else (exact(2e-5, 1e-12), exact(1e-6, 0.0))
    compare = functools.partial(compare, rtol=loose, atol=least)
    compare(expected, as_pairs(got), "updates")
    held, wanted = leaves_by_path(decode_all(state)), leaves_by_path(decode_all(of_pairs))
    complex_ones = [path for path, x in held.items() if jnp.iscomplexobj(x)]
    paired = [path for path, x in wanted.items() if jnp.shape(x) != jnp.shape(held.get(path, x))]
    if complex_ones != paired:
        raise Broken(f"complex arrays in the state at {', '.join(paired)}", ", ".join(complex_ones) or "none")
    given_gradients = bool(subject.extra(gradients[0], params))
    for path, x in held.items():
        if path not in paired:
            compare(wanted[path], x, f"state{path}")
            continue
        ways = pairs_like(wanted[path], x)
        if given_gradients:  # JAX's, of a real loss, is the conjugate; a rule that gets it may hold it
            ways += pairs_like(wanted[path], x.conj())
        pairs = wanted[path].astype(ways[0].dtype)  # a codec may hold real numbers in an array of 16 bits
        breaches = [
            breach_of(lambda way=way, pairs=pairs, path=path: compare(pairs, way, f"state{path}")) for way in ways
        ]
        if all(breaches):
            raise next(filter(None, breaches))


def pairs_like(expected: Any, x: Any) -> list[Any]:
    """The real and the imaginary part of an array, stacked along each axis that gives another one's shape."""
    parts = np.real(x), np.imag(x)  # in front, or behind an axis along which a state stacks what is past
    each = [np.stack(parts, axis) for axis in range(np.ndim(x) + 1)]
    return [one for one in each if one.shape == expected.shape] or each[:1]
