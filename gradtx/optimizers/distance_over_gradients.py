"""Steps as long as the way so far, over the size of the gradients so far: DoG, DoWG, and DoG array by array."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from gradtx.core import check
from gradtx.core.combine import chain
from gradtx.core.factories import composition, transformation
from gradtx.core.flow import Flow
from gradtx.core.lift import copy_params, multiply, per_array
from gradtx.core.quantity import Anchor
from gradtx.core.reals import dot
from gradtx.core.rule import Rule
from gradtx.core.transformation import Updates
from gradtx.core.tree import joint_norm, norm, root
from gradtx.optimizers.whole_tree import avoid_zero, measure_way, zero_number
from gradtx.transforms.rate import scale_by_learning_rate
from gradtx.values.annotations import NonNegative, Positive


class ScaleByDogState(NamedTuple):
    """The state of `scale_by_dog`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.dog(initial_distance=2.0), jnp.array([5.0])
    >>> _, state = tx.update(jnp.array([4.0]), tx.init(w), w)
    >>> {name: float(x) for name, x in gradtx.metrics(state).items() if name == "distance"}
    {'distance': 2.0}
    """

    init_params: Anchor  # those of init
    max_dist: Array  # the farthest from them so far; zero before the first update
    sum_sq_norm_grads: Array

    @property
    def metrics(self) -> dict[str, Array]:
        return dict(distance=self.max_dist)


@transformation
def scale_by_dog(
    reps: NonNegative = 1e-6,
    eps: NonNegative = 1e-8,
    *,
    initial_distance: Positive | None = None,
    initial_rate: Positive | None = None,
):
    r"""Distance over gradients, $r\,g/\sqrt{G + \varepsilon}$ with the distance from the start,
    $r \leftarrow \max(r, \lVert w - w_0\rVert)$ from $r_0 = \rho\,(1 + \lVert w_0\rVert)$, and
    $G \leftarrow G + \lVert g\rVert^2$. The norms go over all arrays.

    Nothing is left to tune: with $\varepsilon = 0$ the path is the same for $c\,g$ as for $g$. Evaluate with an average
    of the parameters along the way; the authors' is `average_parameters(lambda t: t / (t + 9.0))` behind it. Inside of
    `masked` and `partition` the norms go over the arrays of the group.

    **Arguments:** `reps` $\rho \ge 0$, small enough that the first step does no harm, 1e-4 for models with batch
    normalization; `eps` $\varepsilon \ge 0$. In the place of $\rho$ there may be `initial_distance` $r_0 > 0$, or
    `initial_rate`, which takes the place of $r/\sqrt{G + \varepsilon}$ at the first gradient that is not zero, from
    $r_0 = 0$ unless that is given too.

    **State:** `init_params` $w_0$, one array per parameter; `max_dist` $r$ and `sum_sq_norm_grads` $G$, two numbers.

    **Raises:** `ValueError` where `update` is called without the parameters.

    **Source:** Ivgi, Hinder & Carmon, DoG is SGD's Best Friend (2023). Equals Optax's.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.scale_by_dog(initial_distance=5.0), jnp.zeros(2)
    >>> tx.update(jnp.array([30.0, 40.0]), tx.init(w), w)[0].round()
    Array([3., 4.], dtype=float32)
    """

    def init(params: Any) -> ScaleByDogState:
        return ScaleByDogState(copy_params(params), zero_number(), zero_number())

    def advance_dog(flow: Flow, state: Any, extra: dict[str, Any]) -> ScaleByDogState:
        check.require_state(state, ScaleByDogState)
        g, start, way = measure_way(flow, state.init_params)
        number = state.max_dist.dtype
        # Here and not in init, which knows nothing of the other parts of an array that is in parts.
        least = initial_distance
        if least is None:
            least = 0.0 if initial_rate is not None else reps * (1.0 + joint_norm(start).astype(number))
        farthest = jnp.maximum(jnp.maximum(state.max_dist, least), joint_norm(way).astype(number))
        squares = state.sum_sq_norm_grads + dot(g, g).astype(number)
        rate = farthest / avoid_zero(root(squares + eps))
        if initial_rate is not None:
            rate = jnp.where(state.sum_sq_norm_grads > 0.0, rate, initial_rate)
        flow.then(multiply, [rate] * len(flow.leaves))
        return state._replace(max_dist=farthest, sum_sq_norm_grads=squares)

    return Rule(init, advance_dog)


@composition
def dog(
    learning_rate: NonNegative = 1.0,
    reps: NonNegative = 1e-6,
    eps: NonNegative = 1e-8,
    *,
    initial_distance: Positive | None = None,
    initial_rate: Positive | None = None,
):
    r"""DoG, $w \leftarrow w - \eta\,r\,g/\sqrt{G + \varepsilon}$: gradient descent that finds its learning rate.

    **Arguments:** `learning_rate` $\eta \ge 0$, which multiplies what is found; the others, the state and the source
    are those of `scale_by_dog`. `update` needs the parameters.

    >>> import gradtx
    >>> gradtx.dog(reps=1e-4)
    dog(reps=0.0001)
    """
    direction = scale_by_dog(reps, eps, initial_distance=initial_distance, initial_rate=initial_rate)
    return chain(direction, scale_by_learning_rate(learning_rate))


class ScaleByDowgState(NamedTuple):
    """The state of `scale_by_dowg`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.dowg(initial_distance=2.0), jnp.array([5.0])
    >>> _, state = tx.update(jnp.array([3.0]), tx.init(w), w)
    >>> float(gradtx.find(state, "estim_sq_dist")), float(gradtx.find(state, "weighted_sq_norm_grads"))
    (4.0, 36.0)
    """

    init_params: Anchor  # those of init
    weighted_sq_norm_grads: Array
    estim_sq_dist: Array  # the square of the farthest from them so far; zero before the first update

    @property
    def metrics(self) -> dict[str, Array]:
        return dict(distance=jnp.sqrt(self.estim_sq_dist))


@transformation
def scale_by_dowg(eps: NonNegative = 1e-4, *, initial_distance: Positive | None = None):
    r"""Distance over weighted gradients, $r^2 g/(\sqrt v + \varepsilon)$ with the distance from the start,
    $r^2 \leftarrow \max(r^2, \lVert w - w_0\rVert^2)$ from $r_0^2 = \varepsilon$, and
    $v \leftarrow v + r^2 \lVert g\rVert^2$. The norms go over all arrays.

    Gradients of later steps, from farther out, weigh more than in `scale_by_dog`, and its steps are longer. Inside of
    `masked` and `partition` the norms go over the arrays of the group.

    **Arguments:** `eps` $\varepsilon \ge 0$, with 0 nothing moves unless `initial_distance` $r_0 > 0$ is given.

    **State:** `init_params` $w_0$, one array per parameter; `weighted_sq_norm_grads` $v$ and `estim_sq_dist` $r^2$, two
    numbers.

    **Raises:** `ValueError` where `update` is called without the parameters.

    **Source:** Khaled, Mishchenko & Jin, DoWG Unleashed (2023). Equals Optax's.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.scale_by_dowg(initial_distance=5.0), jnp.zeros(2)
    >>> tx.update(jnp.array([30.0, 40.0]), tx.init(w), w)[0].round()
    Array([3., 4.], dtype=float32)
    """

    def init(params: Any) -> ScaleByDowgState:
        return ScaleByDowgState(copy_params(params), zero_number(), zero_number())

    def advance_dowg(flow: Flow, state: Any, extra: dict[str, Any]) -> ScaleByDowgState:
        check.require_state(state, ScaleByDowgState)
        g, _, way = measure_way(flow, state.init_params)
        number = state.estim_sq_dist.dtype
        least = eps if initial_distance is None else initial_distance**2
        farthest = jnp.maximum(jnp.maximum(state.estim_sq_dist, least), dot(way, way).astype(number))
        squares = state.weighted_sq_norm_grads + farthest * dot(g, g).astype(number)
        rate = farthest / avoid_zero(root(squares) + eps)
        flow.then(multiply, [rate] * len(flow.leaves))
        return state._replace(estim_sq_dist=farthest, weighted_sq_norm_grads=squares)

    return Rule(init, advance_dowg)


@composition
def dowg(learning_rate: NonNegative = 1.0, eps: NonNegative = 1e-4, *, initial_distance: Positive | None = None):
    r"""DoWG, $w \leftarrow w - \eta\,r^2 g/(\sqrt v + \varepsilon)$: gradient descent that finds its learning rate.

    **Arguments:** `learning_rate` $\eta \ge 0$, which multiplies what is found; the others, the state and the source
    are those of `scale_by_dowg`. `update` needs the parameters.

    >>> import gradtx
    >>> gradtx.dowg(initial_distance=0.1)
    dowg(initial_distance=0.1)
    """
    return chain(scale_by_dowg(eps, initial_distance=initial_distance), scale_by_learning_rate(learning_rate))


class ScaleByDistanceState(NamedTuple):
    """The state of `scale_by_distance`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.scale_by_distance(reps=0.5), jnp.array([3.0])
    >>> _, state = tx.update(jnp.array([4.0]), tx.init(w), w)
    >>> float(state.max_dist), float(state.grad_sum_of_squares)
    (2.0, 16.0)
    """

    max_dist: Updates  # one number for each array
    grad_sum_of_squares: Updates  # likewise
    init_params: Anchor  # those of init


@transformation
def scale_by_distance(reps: NonNegative = 1e-6, eps: NonNegative = 1e-8):
    r"""Distance over gradients, each array by itself: $r\,g/\sqrt{G + \varepsilon}$ with
    $r \leftarrow \max(r, \lVert w - w_0\rVert)$ from $r_0 = \rho\,(1 + \lVert w_0\rVert)$ and
    $G \leftarrow G + \lVert g\rVert^2$ of that array. It is the layer-wise form of `scale_by_dog`, LDoG.

    **Arguments:** `reps` $\rho \ge 0$, 1e-4 for models with batch normalization; `eps` $\varepsilon \ge 0$.

    **State:** `init_params` $w_0$, one array per parameter; `max_dist` $r$ and `grad_sum_of_squares` $G$, two numbers
    per array.

    **Raises:** `ValueError` where `update` is called without the parameters.

    **Source:** Ivgi, Hinder & Carmon, DoG is SGD's Best Friend (2023), the layer-wise form. Equals
    Optax's `scale_by_distance_over_gradients`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.scale_by_distance(reps=1.0), {"a": jnp.zeros(1), "b": jnp.zeros(1)}
    >>> tx.update({"a": jnp.array([8.0]), "b": jnp.array([-0.5])}, tx.init(w), w)[0]
    {'a': Array([1.], dtype=float32), 'b': Array([-1.], dtype=float32)}
    """

    def init(p: Array):
        return dict(max_dist=jnp.zeros([], p.dtype), grad_sum_of_squares=jnp.zeros([], p.dtype), init_params=p)

    def update(g: Array, state: ScaleByDistanceState, p: Array):
        farthest = jnp.maximum(state.max_dist, reps * (1.0 + norm(state.init_params)))
        farthest = jnp.maximum(farthest, norm(p - state.init_params))
        squares = state.grad_sum_of_squares + jnp.square(norm(g))
        fields = dict(max_dist=farthest, grad_sum_of_squares=squares, init_params=state.init_params)
        return g * (farthest / avoid_zero(root(squares + eps))), fields

    return per_array(ScaleByDistanceState, init, update)
