"""Large batches in parts: gradients are averaged over a window of micro-batches before they are used."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.count import Count, as_real, in_force, increment, value_at
from gradtx.core.eager import ARRAYS
from gradtx.core.factories import composition
from gradtx.core.flow import Flow
from gradtx.core.loss import FUNCTIONS
from gradtx.core.measurement import as_measurement
from gradtx.core.pair import named_extra
from gradtx.core.quantity import Slow
from gradtx.core.reals import places_of_updates
from gradtx.core.rule import Part, Rule
from gradtx.core.transformation import advance, start, takes
from gradtx.core.tree import find_state_of
from gradtx.core.walk import walk, writes
from gradtx.values.annotations import Steps
from gradtx.values.errors import Refusal, errors_of
from gradtx.wrappers.branch import cast_like, choose, state_in_form_of


class AccumulateState(NamedTuple):
    """The state of `accumulate`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.accumulate(gradtx.sgd(0.1), 4)
    >>> _, state = tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)))
    >>> int(state.mini_step), int(state.count), state.acc_grads
    (1, 0, Array([2.], dtype=float32))
    """

    mini_step: Count  # micro-batches in the window so far
    count: Count  # windows completed: the updates that the inner transformation has done
    steps: jax.Array  # the length of the window that the last update was in; before the first, of the first
    acc_grads: Slow  # the mean of its gradients so far
    acc_extra: dict[str, Any]  # the means of its extra arguments
    inner_state: Any

    @property
    def metrics(self) -> dict[str, jax.Array]:
        return {"mini_step": self.mini_step, "gradient_step": self.count, "window_steps": self.steps}


def has_updated(state: Any) -> jax.Array:
    """Whether the last update, or `flush`, closed a window of `accumulate`, and so moved the parameters: one bool, also
    inside of `jit`. A micro-batch that `skip_nonfinite` leaves out is none: the answer is that of the one before.

    **Arguments:** `state`, of a transformation with one `accumulate` in it, wherever it stands; Optax's `MultiSteps`
    counts as one.

    **Raises:** `ValueError` for a state without `accumulate`, or with several: then hand in that of the one.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, g = gradtx.accumulate(gradtx.sgd(0.1), 2), jnp.ones(1)
    >>> state = tx.init(g)
    >>> for _ in range(4):
    ...     _, state = tx.update(g, state)
    ...     print(gradtx.has_updated(state))
    False
    True
    False
    True
    """
    with errors_of("has_updated"):
        own = find_state_of(AccumulateState, jax.tree.map(as_window, state, is_leaf=is_of_optax))
    mini_step, count = jax.tree.leaves((own.mini_step, own.count))  # in what a framework has put around them
    return jnp.logical_and(mini_step == 0, count > 0)


def is_of_optax(x: Any) -> bool:
    return isinstance(x, optax.MultiStepsState)


def as_window(x: Any) -> Any:
    """Optax's state as one of `accumulate`, whose length is not known; anything else as it is."""
    unknown: Any = None
    own = is_of_optax(x) and (x.mini_step, x.gradient_step, unknown, x.acc_grads, {}, x.inner_opt_state)
    return AccumulateState(*own) if own else x


@composition  # for its schedules as they are: they count windows
def accumulate(tx: optax.GradientTransformation, steps: Steps):
    r"""The transformation on the mean over a window of $k$ micro-batches, $T(\frac{1}{k}\sum_{i=1}^k g_i)$ at the last
    of them; at the others zeros, for which $T$ is not run.

    Where each $g_i$ is the gradient of a mean over equally many examples, that is one step on all of them together.
    Extra arguments of `update` are handed in at each micro-batch and averaged too: numbers such as `value`, and `grad`.
    What is neither goes on as it comes at the last one: `value_fn` and `loss_fn`, and what these take, must be those of
    the whole window.

    `skip_nonfinite(accumulate(tx, k))` leaves a micro-batch with NaN out and goes on with the same window;
    `accumulate(skip_nonfinite(tx), k)` throws the window away. In any case the next window starts from zero.

    Where the data end within a window, its gradients wait in the state; `flush` does the step with them. `has_updated`
    says whether the last update closed a window.

    **Arguments:** `tx`, an Optax transformation too, whose counts and schedules see windows; `steps` $k \ge 1$, a
    number or a schedule of the windows completed so far, rounded up. A window that is found to be as long as $k$ or
    longer ends there, and the mean is that of what is in it.

    **State:** `mini_step`, micro-batches in the window, `count`, windows completed, `steps`, `acc_grads`, the mean so
    far, one array per parameter in at least float32, `acc_extra`, the means of the extra arguments that `tx` takes, a
    second array per parameter where `grad` is one of them, and the state of `tx`. The updates of `tx` take the place of
    the mean, so that a step needs no other copy.

    **Raises:** `ValueError` for updates that do not fit the state, `TypeError` and `ValueError` for an extra argument
    made of arrays that is no real scalar, `TypeError` where a part that does not say that it takes `grad` uses it, as
    one inside of `optax.chain`.

    **Source:** equals Optax's `MultiSteps`, which takes `value` and `grad` of the last micro-batch alone.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.accumulate(gradtx.sgd(1.0), 2)
    >>> state = tx.init(jnp.zeros(1))
    >>> for g in (1.0, 3.0):
    ...     updates, state = tx.update(jnp.array([g]), state)
    ...     print(updates)
    [0.]
    [-2.]
    """
    slots, strict, exact = names_to_average(tx), is_foreign(tx), writes(tx)

    def init(params: Any) -> AccumulateState:
        state = start(tx, params)
        means = {name: zeros(params) if name == "grad" else jnp.zeros([], jnp.result_type(float)) for name in slots}
        mini_step, count = jnp.zeros([], jnp.int32), jnp.zeros([], jnp.int32)
        return AccumulateState(mini_step, count, value_at(steps, count), zeros(params), means, state)

    def advance_window(flow: Flow, state: Any, ok: Any, extra: dict[str, Any]) -> AccumulateState:
        check.require_state(state, AccumulateState)
        size, now = state.mini_step + 1, in_force(steps, state.count, state.steps)
        last = ok & ~(as_real(size) < now)
        updates = flow.updates()
        mean = average(state.acc_grads, updates, size, ok, "updates")
        means = {name: average_extra(x, extra.get(name), size, ok, name) for name, x in state.acc_extra.items()}
        leaves, structure = jax.tree.flatten(updates, is_leaf=check.is_none)
        places, held = places_of_updates(updates), structure.flatten_up_to(mean)

        def step() -> tuple[list[Any], Any]:
            given = extra | {name: x for name, x in means.items() if is_measured(extra.get(name))}
            if means.keys() == slots and "grad" in given.keys() - slots:  # Optax's form keeps no means, uses the last
                given["grad"] = jax.tree.map(lambda x: NoMean(), given["grad"])
            entering = list(leaves)
            for i in places:
                entering[i] = cast_like(held[i], leaves[i]) if strict else held[i]
            own = flow.fork()
            own.put(structure.unflatten(entering))
            after = advance(tx, own, state.inner_state, given, "tx")
            out = structure.flatten_up_to(own.updates(last=True))
            after = state_in_form_of(state.inner_state, own.settle(after))
            return [cast_like(out[i], held[i]) for i in places], after

        # One array holds the updates at the last micro-batch, the mean at the others, and so no other one is needed.
        either, inner_state = jax.lax.cond(last, step, lambda: ([held[i] for i in places], state.inner_state))
        for i, x in zip(places, either, strict=True):
            now_or_never = jnp.where(last, x, jnp.zeros_like(x))
            # An exact write is never rounded, and no narrower than without micro-batches.
            dtype = check.promote(x.dtype, leaves[i].dtype) if exact else leaves[i].dtype
            leaves[i], held[i] = now_or_never.astype(dtype), x
        flow.put(structure.unflatten(leaves))
        sums = structure.unflatten(held), means
        acc_grads, acc_extra = jax.tree.map(lambda x: jnp.where(last, jnp.zeros_like(x), x), sums)
        mini_step = jnp.where(last, 0, choose(ok, size, state.mini_step))
        count = jnp.where(last, increment(state.count), state.count)
        return AccumulateState(mini_step, count, choose(ok, now, state.steps), acc_grads, acc_extra, inner_state)

    return Rule(
        init=init,
        advance=lambda flow, state, extra: advance_window(flow, state, True, extra),
        parts={"tx": Part(tx, ("inner_state",))},
        numbers={"steps": ("steps",)},
        advance_if=advance_window,
    )


def names_to_average(tx: Any) -> frozenset[str]:
    """The extra arguments that the parts of a transformation name, and `value` if one takes any."""
    found: set[str] = set()
    for node in walk(tx):
        own = takes(node.tx) if node.rule is None else node.rule.takes
        found |= named_extra(node.tx.update) | {"value"} if own is None else own
    return frozenset(found - FUNCTIONS)


def is_foreign(tx: Any) -> bool:
    """Whether there is a part of Optax in it: those want the dtype that they were initialized with."""
    return any(node.rule is None for node in walk(tx))


class NoMean:
    """Stands for a gradient of which no mean was kept: an error as soon as it is used."""

    def __getattr__(self, name: str) -> Any:
        problem = "grad is used by a part that does not say that it takes it, so no mean of it was kept"
        remedy = "join the parts with gradtx.chain, or write one around it that has grad in its signature"
        raise Refusal(TypeError, f"{problem}; {remedy}")


def zeros(params: Any) -> Any:
    """A mean of nothing for each parameter that can have a gradient."""
    return jax.tree.map(lambda p: jnp.zeros_like(p, check.promote(jnp.result_type(p))), check.movable(params))


def is_measured(x: Any) -> bool:
    """Whether an extra argument is made of numbers; a function, a bool or a random key is not."""

    def is_number(leaf: Any) -> bool:
        return isinstance(leaf, ARRAYS) and not isinstance(leaf, bool) and not check.is_key(leaf)

    return any(map(is_number, jax.tree.leaves(x)))


def average_extra(mean: Any, x: Any, size: jax.Array, ok: Any, name: str) -> Any:
    """The mean of an extra argument with another one in it."""
    if not is_measured(x):
        return mean
    return average(mean, x if name == "grad" else as_measurement(name, x), size, ok, name)


def average(mean: Any, tree: Any, size: jax.Array, ok: Any, name: str) -> Any:
    """The mean of trees with another one in it where it is ok, then of so many. It may hold None."""
    leaves, structure = jax.tree.flatten(tree, is_leaf=check.is_none)
    means = check.match(tree, mean, "the state's mean", name)
    for i, x in enumerate(leaves):
        if x is not None:
            x, m = check.as_array(x, name, tree, i), means[i]
            if m is None or m.shape != x.shape or jnp.iscomplexobj(m) != jnp.iscomplexobj(x):
                got = "None" if m is None else f"{m.dtype}{list(m.shape)}"
                where, remedy = f"{name}{check.path_to(tree, i)}", "call init with the parameters that are updated"
                problem = f"{where} is {x.dtype}{list(x.shape)}, the state's mean has {got} there"
                raise Refusal(ValueError, f"{problem}; {remedy}")
            x = choose(ok, x.astype(m.dtype), m)  # what is not finite would be in a gradient even where it is left out
            means[i] = choose(ok, m + (x - m) / size.astype(m.dtype), m)
    return structure.unflatten(means)
