"""What one call of a compiled step costs where the arrays are tiny: `python -m benchmarks.dispatch`.

Optax's optimizer is a closure of its step. gradtx's is one too, or an argument, with its numbers as they are or put on
the device by `jax.device_put(tx)`. The floor under an argument is the same program with a plain tuple of the numbers.
All take turns in one process.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

import gradtx
from benchmarks import run
from benchmarks.measure import uncollected
from benchmarks.record import Figure, figure

CALLS = 20  # in a round: shorter than the turn that a busy machine gives to a process
ROUNDS, QUICK = 601, 51
OPTAX = "Optax, a closure"


class Form:
    """A compiled step with its optimizer in one of the forms, and the training that goes on with it."""

    def __init__(self, tx: Any, apply_updates: Any, argument: Any = (), rebuild: Callable[[Any], Any] | None = None):
        def step(argument: Any, params: Any, state: Any, grads: Any) -> Any:
            optimizer = rebuild(argument) if rebuild else tx
            updates, state = optimizer.update(grads, state, params)
            return apply_updates(params, updates), state

        self.grads = {"w": jnp.ones((3, 2)), "b": jnp.ones(2)}
        self.params, self.state, self.argument = self.grads, tx.init(self.grads), argument
        self.step = jax.jit(step)

    def seconds(self) -> float:
        """Of one call, in a round of them."""
        step, argument, params, state, grads = self.step, self.argument, self.params, self.state, self.grads
        start = time.perf_counter()
        for _ in range(CALLS):
            params, state = step(argument, params, state, grads)
        spent = time.perf_counter() - start
        self.params, self.state = jax.block_until_ready((params, state))
        return spent / CALLS


def forms(tx: Any, peer: Any) -> dict[str, Form]:
    numbers, structure = jax.tree.flatten(tx)
    apply_updates = gradtx.apply_updates

    def given(tx: Any) -> Any:
        return tx

    return {
        OPTAX: Form(peer, optax.apply_updates),
        "gradtx, a closure": Form(tx, apply_updates),
        "gradtx, an argument on the device": Form(tx, apply_updates, jax.device_put(tx), given),
        "plain numbers on the device": Form(tx, apply_updates, jax.device_put(tuple(numbers)), structure.unflatten),
        "gradtx, an argument": Form(tx, apply_updates, tx, given),
        "plain numbers": Form(tx, apply_updates, tuple(numbers), structure.unflatten),
    }


def times(contestants: dict[str, Form], rounds: int) -> dict[str, dict[str, Figure]]:
    """Of each form the seconds of a call, and what Optax takes by what it takes beside it."""
    for form in contestants.values():
        form.seconds()  # compiles
    spent: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants)
    with uncollected():
        for _ in range(rounds):
            for name in order:
                spent[name].append(contestants[name].seconds())
            order = [*order[1:], order[0]]  # each is as often the first
    ratios = {name: [b / a for a, b in zip(spent[name], spent[OPTAX], strict=True)] for name in spent}
    return {name: {"call": figure(spent[name]), "ratio": figure(ratios[name])} for name in spent}


def rows(quick: bool) -> run.Rows:
    clipped = gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.adamw(gradtx.cosine(1e-3, 100)))
    peer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(optax.cosine_decay_schedule(1e-3, 100)))
    optimizers = {
        "`adam(1e-3)`": (gradtx.adam(1e-3), optax.adam(1e-3)),
        "clipped AdamW with a schedule": (clipped, peer),
    }
    return [
        {
            "title": title,
            "numbers": len(jax.tree.leaves(ours)),
            "forms": times(forms(ours, theirs), QUICK if quick else ROUNDS),
        }
        for title, (ours, theirs) in optimizers.items()
    ]


if __name__ == "__main__":
    run.main("dispatch", __doc__, rows)
