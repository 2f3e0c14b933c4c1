"""How the calls of `examples.py` are made and run, on gradtx.optax and on Optax."""

import re
import warnings
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of names that Optax will take away
        names = [name for name in re.findall(r"[A-Za-z_]\w*", expression) if name in dir(module)]
        return eval(expression, OWN | {name: getattr(module, name) for name in names})


def galore_numbers(reduce: int, output: int) -> Any:
    return optax.contrib.GaLoreDimensionNumbers(reduce, output)


def with_axes(params: Any) -> Any:
    """A mask of the arrays that SM3 takes."""
    return jax.tree.map(lambda x: jnp.ndim(x) >= 1, params)


def every_other(step: Any) -> Any:
    return step % 2 == 0


def above_seven(step: Any, value: Any, **rest: Any) -> Any:
    return value > 7.0


def largest(updates: Any) -> Any:
    return jnp.max(jnp.stack([jnp.max(x) for x in jax.tree.leaves(updates)]))


OWN = dict(
    jax=jax,
    jnp=jnp,
    matrices=matrices,
    numbers=numbers,
    numbers_of=numbers_of,
    galore_numbers=galore_numbers,
    with_axes=with_axes,
    every_other=every_other,
    above_seven=above_seven,
    largest=largest,
    square_of_gradient=optax.stateless_with_tree_map(lambda g, p: g**2),
    their_lamb=optax.lamb,
)


def grads(step: Any) -> Any:
    return jax.tree.map(lambda p: (jnp.cos(p * (step + 1)) + 0.1 * p).astype(p.dtype), PARAMS)


def loss(params: Any) -> Any:
    return sum(jnp.sum(jnp.cosh(p - 0.3)) for p in jax.tree.leaves(params))


# ---- what an update is given, by the name of what it belongs to ----

SEARCHES = {"lbfgs", "scale_by_lbfgs", "scale_by_backtracking_linesearch", "scale_by_zoom_linesearch"}
OF_EXAMPLES = {"differentially_private_aggregate", "dpsgd"}
CURVED = {"sophia", "hutchinson_estimator_diag_hessian"}


def params_for(name: str) -> Any:
    if name == "lookahead":
        return optax.LookaheadParams.init_synced(PARAMS)
    return jax.tree.map(lambda p: p * (1.0 + 0.5j), PARAMS) if name == "split_real_and_imaginary" else PARAMS


def given_at(name: str, params: Any, i: Any) -> tuple[Any, dict[str, Any]]:
    """The updates at a step, and the extra arguments."""
    if name in SEARCHES:
        value, g = jax.value_and_grad(loss)(params)
        return g, dict(value=value, grad=g, value_fn=loss)
    if name in OF_EXAMPLES:
        return jax.tree.map(lambda *rows: jnp.stack(rows), *[grads(i + k) for k in range(3)]), {}
    if name in CURVED:
        return grads(i), dict(obj_fn=loss)
    if name == "sam":
        return grads(i), dict(grad_fn=lambda params, step: jax.tree.map(lambda p: jnp.sin(p + step), params))
    if name == "split_real_and_imaginary":
        return jax.tree.map(lambda g: g * (1.0 - 0.3j), grads(i)), {}
    return grads(i), dict(value=10.0 - i)


def run(tx: Any, compiled: bool, name: str = "") -> tuple[Any, Any, Any]:
    """The parameters, the updates and the state after five steps."""
    params, updates = params_for(name), None
    state = tx.init(params)
    tx = optax.with_extra_args_support(tx)

    def step(params: Any, state: Any, i: Any) -> Any:
        g, extra = given_at(name, params, i)
        return tx.update(g, state, params, **extra)

    step = jax.jit(step) if compiled else step
    with jax.numpy_rank_promotion(
        "allow" if name == "scale_by_distance_over_gradients" else "raise"
    ):  # Optax's asks it
        for i in range(5):
            updates, state = step(params, state, jnp.float32(i))
            params = optax.apply_updates(params, updates)
    return params, updates, state
