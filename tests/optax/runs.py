"""How the calls of `examples.py` are made and run, on gradtx.optax and on Optax."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import optax

PARAMS = {"w": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.array([0.1, -0.2]), "n": {"c": jnp.array(2.0, float)}}


def matrices(params: Any) -> Any:
    """A mask as a function."""
    return jax.tree.map(lambda x: jnp.ndim(x) >= 2, params)


def numbers_of(reduce: int, output: int) -> Any:
    return optax.contrib.MuonDimensionNumbers(reduce, output)


def numbers(params: Any) -> Any:
    """How arrays are matrices, as a function."""

    def of_array(x: Any) -> Any:
        return numbers_of(0, 1) if jnp.ndim(x) >= 2 else None

    return jax.tree.map(of_array, params)


def make(expression: str, module: Any) -> Any:
    """The value of a call, with the names of one of the two modules."""
    names = [name for name in re.findall(r"[A-Za-z_]\w*", expression) if name in dir(module)]
    return eval(expression, OWN | {name: getattr(module, name) for name in names})


OWN = dict(jax=jax, jnp=jnp, matrices=matrices, numbers=numbers, numbers_of=numbers_of, their_lamb=optax.lamb)


def grads(step: Any) -> Any:
    return jax.tree.map(lambda p: (jnp.cos(p * (step + 1)) + 0.1 * p).astype(p.dtype), PARAMS)


def loss(params: Any) -> Any:
    return sum(jnp.sum(jnp.cosh(p - 0.3)) for p in jax.tree.leaves(params))


def run(tx: Any, compiled: bool, with_loss: bool = False) -> tuple[Any, Any, Any]:
    """The parameters, the updates and the state after five steps."""
    params, updates, state = PARAMS, None, tx.init(PARAMS)
    tx = optax.with_extra_args_support(tx)

    def step(params: Any, state: Any, i: Any) -> Any:
        if not with_loss:
            return tx.update(grads(i), state, params, value=10.0 - i)
        value, g = jax.value_and_grad(loss)(params)
        return tx.update(g, state, params, value=value, grad=g, value_fn=loss)

    step = jax.jit(step) if compiled else step
    for i in range(5):
        updates, state = step(params, state, jnp.float32(i))
        params = optax.apply_updates(params, updates)
    return params, updates, state
