"""Factors behind `orthogonalize`, which make one learning rate fit matrices of all shapes."""

from collections.abc import Callable
from typing import Annotated, Any, ParamSpec

import jax
import jax.numpy as jnp

from gradtx.values.annotations import Check, Positive
from gradtx.values.errors import Refusal, errors_of, require_function
from gradtx.values.ranges import A_NUMBER, Range
from gradtx.values.recipe import Recipe
from gradtx.values.value import Value, build, register

P = ParamSpec("P")


@register
class Factor(Value):
    """A factor for a matrix $O$ that was made of a matrix $u$, both of $n_{in}$ rows and $n_{out}$ columns; a value.

    >>> import gradtx, jax.numpy as jnp
    >>> gradtx.shape_factor()(jnp.zeros((2, 8)), jnp.zeros((2, 8)))
    2.0
    """

    def __call__(self, u: jax.Array, o: jax.Array) -> Any:
        with errors_of(self.recipe.__name__):
            return build(self)(u, o)


class factor(Recipe[P, Factor]):
    """Makes a factory of functions of two matrices a factory of `Factor`."""

    kind = Factor
    number = A_NUMBER

    def check_schedule(self, name: str, value: Any, allowed: Range) -> None:
        remedy = "a rate that changes is the learning rate's"
        raise Refusal(TypeError, f"{name} must be {A_NUMBER}, got a function; {remedy}")


@factor
def shape_factor() -> Callable[..., Any]:
    r"""$\sqrt{\max(1, n_{out}/n_{in})}$, of Muon's author, torch (`"original"`) and Optax.

    >>> import gradtx
    >>> gradtx.orthogonalize(scale=gradtx.shape_factor()) == gradtx.orthogonalize()
    True
    """
    return lambda u, o: max(1.0, ratio(o)) ** 0.5


@factor
def spectral_factor() -> Callable[..., Any]:
    r"""$\sqrt{n_{out}/n_{in}}$, with which rates carry over from one width to another; dion's `"spectral_norm"`.

    >>> import gradtx, jax.numpy as jnp
    >>> gradtx.spectral_factor()(jnp.zeros((8, 2)), jnp.zeros((8, 2)))
    0.5
    """
    return lambda u, o: ratio(o) ** 0.5


@factor
def rms_factor(rms: Positive = 0.2) -> Callable[..., Any]:
    r"""$\rho \sqrt{\max(n_{in}, n_{out})}$: the root mean square of the updates is $\rho$. With 0.2 it is about that of
    AdamW's, whose learning rate and decay then carry over. Moonlight, torch (`"match_rms_adamw"`), Keras (`rms_rate`),
    Optax (`consistent_rms`).

    **Arguments:** `rms` $\rho > 0$.

    >>> import gradtx, jax.numpy as jnp
    >>> gradtx.rms_factor(0.2)(jnp.zeros((25, 4)), jnp.zeros((25, 4)))
    1.0
    """
    return lambda u, o: rms * max(o.shape) ** 0.5


@factor
def dual_factor() -> Callable[..., Any]:
    r"""$\langle u, O \rangle$, about the sum of the singular values: the step of steepest descent in the spectral norm.
    Optax (`adaptive=True`).

    >>> import gradtx, jax.numpy as jnp
    >>> gradtx.dual_factor()(jnp.diag(jnp.array([3.0, 4.0])), jnp.eye(2))
    Array(7., dtype=float32)
    """
    return lambda u, o: jnp.sum(u * o)


def ratio(o: jax.Array) -> float:
    """Outputs by inputs, of which there may be none."""
    return o.shape[1] / max(o.shape[0], 1)


def as_scale(name: str, value: Any) -> Any:
    if callable(value) and hasattr(value, "kind"):
        raise Refusal(TypeError, f"{name} must be a factor, got a factory; call it: {value.__name__}()")
    require_function(name, value, "two matrices", 2)
    return value


Scale = Annotated[Callable[[jax.Array, jax.Array], Any], Check(as_scale)]


def times_factor(scale: Scale | None, u: jax.Array, o: jax.Array) -> jax.Array:
    """What became of a matrix times its factor."""
    return o if scale is None else scale(u, o) * o
