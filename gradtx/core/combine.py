"""Transformations of transformations that the core itself needs: in series, and nothing at all."""

import functools
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import optax

from gradtx.core import check
from gradtx.core.flow import Flow, Rule
from gradtx.core.lift import stateless
from gradtx.core.transformation import P, advance, extra_for, transformation


class associative(transformation[P]):
    """A transformation of parts in which parts of its own kind dissolve, so that grouping them changes nothing."""

    def checked(self, name: str, value: Any) -> Any:
        parts = super().checked(name, value)
        flat = [part.arguments[name] if getattr(part, "recipe", None) is self else (part,) for part in parts]
        return sum(flat, ())


@associative
def chain(*parts: optax.GradientTransformation) -> Rule:
    r"""The parts in series, $u \mapsto T_n(\dots T_2(T_1(u)))$.

    Parts may be Optax transformations. An extra argument of `update` goes to the parts that take it. `chain()` is the
    identity, and `chain(chain(a, b), c)` equals `chain(a, b, c)`.

    **State:** a tuple of the parts' states.

    **Raises:** `TypeError` for a part that is no transformation, `ValueError` for a state of another number of parts;
    an error inside a part carries a note that names it.

    >>> import gradtx
    >>> gradtx.chain(gradtx.clip_by_norm(1.0), gradtx.sgd(0.1))
    chain(clip_by_norm(max_norm=1.0), sgd(learning_rate=0.1))
    """

    def init(params: Any) -> tuple[Any, ...]:
        states: list[Any] = []
        for i, part in enumerate(parts):
            with noted(i, part):
                states.append(part.init(params))
        return tuple(states)

    def through(flow: Flow, state: Any, **extra: Any) -> Callable[[], tuple[Any, ...]]:
        check.states_of(state, len(parts))
        finish: list[Callable[[], Any]] = []
        for i, (part, one) in enumerate(zip(parts, state, strict=True)):
            with flow.within(functools.partial(noted, i, part)):
                finish.append(advance(part, flow, one, extra_for(part, extra)))
        return lambda: tuple(state() for state in finish)

    return Rule(init, through)


@contextmanager
def noted(index: int, part: Any) -> Generator[None]:
    try:
        yield
    except Exception as error:
        error.add_note(f"in part {index} of a chain, {part!r}")
        raise


@transformation
def identity() -> Rule:
    """The updates as they are, $u$.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.identity()
    >>> tx.update(jnp.array([4.0]), tx.init(None))[0]
    Array([4.], dtype=float32)
    """
    return stateless(lambda g: g)
