"""Random chains of the whole catalogue, with random wrappers around them and random numbers in them."""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from hypothesis import strategies as st

import gradtx as gx
from gradtx.testing import problem
from tests.catalogue import TRANSFORMATIONS

Choice = int  # which of several options, counted round


class Drawn(NamedTuple):
    """A chain as data; `make_chain` makes it, or is refused."""

    members: list[tuple[int, str, Choice]]  # a place in the catalogue, what is done to one of its numbers, which one
    wrappers: list[tuple[str, Choice]]  # from the inside out


def one_of(options: Any, choice: Choice) -> Any:
    several = list(options)
    return several[choice % len(several)]


WHERE: tuple[Any, ...] = (
    gx.by_ndim(at_least=2),
    gx.maybe(gx.by_ndim(at_least=2)),
    gx.by_path("w"),
    ~gx.by_path("bias"),
    gx.by_path(""),
    ~gx.by_ndim(at_least=2) | gx.by_path("encoder"),
    lambda path, x: path == "w",
)
CODECS: tuple[Any, ...] = (
    gx.bfloat16,
    gx.bfloat16(stochastic=False),
    jnp.float16,
    gx.blocks(8, 4, min_size=0),
    gx.blocks(4, 2, min_size=0),
    gx.of_root(gx.float8(block=4, min_size=0)),
)


@gx.composition
def half_of_adam(factor: gx.Positive):
    """A composition that computes with its number, as authors' do."""
    return gx.chain(gx.scale_by_adam(), gx.scale(0.5 * factor))


OTHERS: tuple[Any, ...] = (
    half_of_adam(0.1),
    gx.sgd(0.1),
    gx.scale_by_adam(),
    gx.chain(),
    gx.adamw(gx.cosine(0.1, 5)),
    gx.freeze(gx.by_path("")),
    gx.clip_by_global_norm(1.0),
    optax.sgd(0.1, momentum=0.9),
    gx.write_stochastically(0),
)
FIELDS = ("mu", "nu", "trace", "ema", "momentum", "acc_grads", "count", "nothing")


def hold(tx: Any, choice: Choice) -> Any:
    return gx.hold(tx, **{one_of(FIELDS, choice): one_of(CODECS, choice // len(FIELDS))})


def hold_present(tx: Any, choice: Choice) -> Any:
    """A quantity that is there, if there is one."""
    state = jax.eval_shape(tx.init, {"w": jnp.zeros((2, 3))})
    names = [name for name in FIELDS[:-2] if name in str(state)] or FIELDS
    return gx.hold(tx, **{one_of(names, choice): one_of(CODECS, choice // 7)})


WRAPPERS: dict[str, Callable[[Any, Choice], Any]] = {
    "masked": lambda tx, i: gx.masked(tx, one_of(WHERE, i)),
    "only": lambda tx, i: gx.only(tx, one_of(WHERE, i)),
    "partition": lambda tx, i: gx.partition((one_of(WHERE, i), tx), default=one_of(OTHERS, i // 7)),
    "partition default": lambda tx, i: gx.partition((one_of(WHERE, i), one_of(OTHERS, i // 7)), default=tx),
    "accumulate": lambda tx, i: gx.accumulate(tx, one_of((1, 2, gx.piecewise_constant((1,), (1, 2))), i)),
    "every": lambda tx, i: gx.every(tx, one_of((1, 2), i)),
    "skip_nonfinite": lambda tx, i: gx.skip_nonfinite(tx, one_of((0, 10), i)),
    "skip_spikes": lambda tx, i: gx.skip_spikes(tx, warmup_steps=one_of((0, 1), i)),
    "hold": hold,
    "hold present": hold_present,
    "parallel": lambda tx, i: gx.parallel(tx, one_of(OTHERS, i), join=operator.add),
    "switch": lambda tx, i: gx.switch(tx, one_of(OTHERS, i), choice=one_of((0, 1, gx.linear(0, 1, 2)), i)),
    "lookahead": lambda tx, i: gx.lookahead(tx, one_of((1, 2), i)),
    "cautious": lambda tx, i: gx.cautious(tx),
    "schedule_free": lambda tx, i: gx.schedule_free(tx, 0.1),
    "sam": lambda tx, i: gx.sam(tx, 0.1, transparent=True),
    "mechanize": lambda tx, i: gx.mechanize(tx),
    "named": lambda tx, i: gx.chain(first=tx, last=one_of(OTHERS, i)),
    "offload": lambda tx, i: gx.offload(tx),
    "across": lambda tx, i: gx.across(tx, one_of((), i) if i < 0 else ()),
    "zero_redundancy": lambda tx, i: gx.zero_redundancy(tx, "data"),
    "scale_loss": lambda tx, i: gx.scale_loss(tx),
    "over": lambda tx, i: gx.over(gx.matrices(), tx),
    "in_subspace": lambda tx, i: gx.in_subspace(tx, 1 + i % 2),
    "in_eigenbasis": lambda tx, i: gx.in_eigenbasis(tx),
    "graft": lambda tx, i: gx.graft(tx, one_of(OTHERS, i)),
    "sophia": lambda tx, i: gx.scale_by_sophia(hessian=tx, every=2),
    "optax chain": lambda tx, i: optax.chain(tx, optax.scale(0.5)),
    "in gradtx again": lambda tx, i: gx.chain(gx.clip_by_value(1.0), optax.chain(tx), gx.scale(0.5)),
    "freeze": lambda tx, i: gx.chain(tx, gx.freeze(one_of(WHERE, i))),
    "write": lambda tx, i: gx.chain(tx, one_of((gx.write_stochastically(0), gx.write_compensated()), i)),
}
CHANGES: dict[str, Callable[[Any], Any]] = {
    "as it is": lambda x: x,
    "scheduled": lambda x: gx.constant(x) * 1.0 if isinstance(x, float) else gx.piecewise_constant((1,), (x, x)),
    "controlled": gx.controlled,
    "NumPy's": np.asarray,
    "zero": lambda x: 0 * x,
    "huge": lambda x: 10**9 if isinstance(x, int) else 1e30,
    "function": lambda x: lambda count: x + 0 * count,
}

some_wrapper = st.tuples(st.sampled_from(list(WRAPPERS)), st.integers(0, 200))
# Most numbers as they are: others are often refused.
change = st.sampled_from(["as it is"] * len(CHANGES) + list(CHANGES))
member = st.tuples(st.integers(0, len(TRANSFORMATIONS) - 1), change, st.integers(0, 50))
chains = st.builds(Drawn, st.lists(member, min_size=1, max_size=4), st.lists(some_wrapper, max_size=2))


def changed_member(place: int, how: str, choice: Choice) -> Any:
    tx = TRANSFORMATIONS[place].value
    numbers = {path: x for path, x in gx.hyperparameters(tx).items() if isinstance(x, int | float)}
    if how == "as it is" or not numbers:
        return tx
    path = one_of(numbers, choice)
    return tx.replace(**{path: CHANGES[how](numbers[path])})


def make_chain(drawn: Drawn) -> Any:
    tx = gx.chain(*[changed_member(*one) for one in drawn.members])
    for name, choice in drawn.wrappers:
        tx = WRAPPERS[name](tx, choice)
    return tx


def extra_for_all(drawn: Drawn, gradients: Any, params: Any) -> dict[str, Any]:
    """Extra arguments for whatever part takes one."""
    extra = problem(gradients, params)
    for place, _, _ in drawn.members:
        extra |= TRANSFORMATIONS[place].extra(gradients, params)
    return {name: as_callers(x) if callable(x) else x for name, x in extra.items()}


def as_callers(function: Any) -> Any:
    """A function in whose place errors are not gradtx's: this one is in their tracebacks."""

    def of_params(params: Any) -> Any:
        return function(params)

    return of_params
