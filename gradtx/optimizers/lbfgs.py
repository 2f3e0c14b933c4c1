"""L-BFGS: Newton's direction from the differences of past gradients."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradtx.core import check
from gradtx.core.combine import chain
from gradtx.core.count import Count, increment
from gradtx.core.factories import Composed, composition, transformation
from gradtx.core.quantity import Anchor
from gradtx.core.reals import dot, places_of_updates
from gradtx.core.rule import going_down
from gradtx.core.transformation import Updates
from gradtx.core.tree import root
from gradtx.transforms.clip import shrinkage
from gradtx.transforms.linesearch import scale_by_zoom_linesearch
from gradtx.transforms.rate import scale
from gradtx.values.annotations import Fraction, Positive
from gradtx.values.errors import require_whole


class ScaleByLbfgsState(NamedTuple):
    """The state of `scale_by_lbfgs`.

    >>> import gradtx, jax.numpy as jnp
    >>> state = gradtx.scale_by_lbfgs(memory_size=5).init(jnp.zeros(3))
    >>> state.diff_params_memory.shape, int(state.next_pair)
    ((5, 3), 0)
    """

    count: Count
    params: Anchor  # at the last update
    updates: Anchor  # what came in there
    diff_params_memory: Updates  # s, stacked in front
    diff_updates_memory: Updates  # y, stacked in front
    weights_memory: jax.Array  # 1/(s·y) of each pair; 0 where there is none yet
    next_pair: jax.Array  # where the next one goes, in place of the oldest


@transformation
def scale_by_lbfgs(memory_size: int = 10):
    r"""The quasi-Newton direction $H g$, where $H$ is BFGS's approximation to the inverse Hessian from the last $m$
    pairs $s = w' - w$, $y = g' - g$ of changes, applied by the two-loop recursion.

    It starts from $\gamma I$ with $\gamma = s^\top y / y^\top y$ of the last pair. Without pairs the direction is
    $g/\max(\lVert g\rVert, 1)$. A pair with no positive curvature,
    $s^\top y \le \varepsilon \lVert s\rVert \lVert y\rVert$ at the machine's $\varepsilon$, is left out, so that always
    $g^\top H g > 0$.

    **Arguments:** `memory_size` $m \ge 1$.

    **State:** `count`, the last `params` and `updates`, and $m$ pairs: $2m + 2$ arrays per parameter, in at least
    float32.

    **Raises:** `ValueError` where `update` is called without the parameters.

    **Source:** Nocedal & Wright, Numerical Optimization (2006), algorithms 7.4 and 7.5; the rule for pairs in the form
    of Byrd, Lu, Nocedal & Zhu (1995). Equals Optax as long as all pairs have positive curvature.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w, g = gradtx.scale_by_lbfgs(), jnp.array([3.0, 4.0]), jnp.array([6.0, 8.0])  # of w·w, whose minimum is 0
    >>> first, state = tx.update(g, tx.init(w), w)
    >>> first, tx.update(g - 2 * first, state, w - first)[0]
    (Array([0.6, 0.8], dtype=float32), Array([2.4, 3.2], dtype=float32))
    """
    require_whole("memory_size", memory_size)
    return pair_of_lbfgs(ScaleByLbfgsState, memory_size)


def pair_of_lbfgs(kind: Any, memory_size: int) -> Any:
    """The pair with a kind of state. Where that has no place for `next_pair`, as Optax's, each update has a place of
    its own in turn, and there are zeros for a pair that is left out.
    """
    by_count = "next_pair" not in kind._fields

    def init(params: Any) -> Any:
        def zeros(*front: int) -> Any:
            def zero(p: Any) -> jax.Array:  # which lies like the parameter
                return jnp.broadcast_to(jnp.zeros_like(as_wide_array(p)), front + jnp.shape(p))

            return jax.tree.map(zero, params)

        weights = jnp.zeros(memory_size, jnp.result_type(float))
        next_pair = () if by_count else (jnp.zeros([], jnp.int32),)
        memories = zeros(memory_size), zeros(memory_size)
        return kind(jnp.zeros([], jnp.int32), zeros(), zeros(), *memories, weights, *next_pair)

    def update(updates: Any, state: Any, params: Any = None):
        check.require_params(params)
        check.require_state(state, kind)
        leaves, structure = jax.tree.flatten(updates, is_leaf=check.is_none)
        places = places_of_updates(updates)
        columns = {name: check.match(updates, getattr(state, name), f"the state's {name}") for name in TREES}
        check.require_fields(columns, leaves, expected, lambda: updates)

        def of(column: list[Any]) -> list[jax.Array]:
            return [as_wide_array(column[i]) for i in places]

        def remembered(memory: jax.Array, new: jax.Array) -> jax.Array:
            else_there = jnp.zeros_like(memory[here]) if by_count else memory[here]
            return memory.at[here].set(jnp.where(kept, new.astype(memory.dtype), else_there))

        def tree(name: str, arrays: list[jax.Array]) -> Any:
            for i, x in zip(places, arrays, strict=True):
                columns[name][i] = jnp.array(x, columns[name][i].dtype)  # a copy: a state may be donated
            return structure.unflatten(columns[name])

        w, g = of(check.match(updates, params, "params")), of(leaves)
        s = [x - before for x, before in zip(w, of(columns["params"]), strict=True)]
        y = [x - before for x, before in zip(g, of(columns["updates"]), strict=True)]
        curvature, squares = dot(s, y), dot(y, y)
        limits = jnp.finfo(curvature.dtype)
        kept = (state.count > 0) & (curvature > limits.eps * root(dot(s, s)) * root(squares))
        kept &= jnp.minimum(curvature, squares) > limits.tiny
        here = jnp.maximum(state.count - 1, 0) % memory_size if by_count else state.next_pair
        pairs = Pairs(
            [remembered(memory, x) for memory, x in zip(of(columns["diff_params_memory"]), s, strict=True)],
            [remembered(memory, x) for memory, x in zip(of(columns["diff_updates_memory"]), y, strict=True)],
            remembered(state.weights_memory, 1.0 / jnp.where(kept, curvature, 1.0)),
        )
        oldest = jnp.where(kept | by_count, (here + 1) % memory_size, here)
        now = pairs._replace(weights=pairs.weights.astype(curvature.dtype))
        direction = apply_inverse(now, (oldest + jnp.arange(memory_size, dtype=oldest.dtype)) % memory_size, g)
        for i, x in zip(places, direction, strict=True):
            leaves[i] = x.astype(leaves[i].dtype)
        memories = tree("diff_params_memory", pairs.s), tree("diff_updates_memory", pairs.y)
        past = tree("params", w), tree("updates", g)
        after = kind(increment(state.count), *past, *memories, pairs.weights, *[] if by_count else [oldest])
        return structure.unflatten(leaves), after

    def expected(u: jax.Array) -> dict[str, jax.ShapeDtypeStruct]:
        shapes = [u.shape, u.shape, (memory_size, *u.shape), (memory_size, *u.shape)]
        return {name: jax.ShapeDtypeStruct(x, jnp.float32) for name, x in zip(TREES, shapes, strict=True)}

    return init, update


TREES = ScaleByLbfgsState._fields[1:5]


class Pairs(NamedTuple):
    s: list[jax.Array]
    y: list[jax.Array]
    weights: jax.Array


def apply_inverse(pairs: Pairs, order: jax.Array, g: list[jax.Array]) -> list[jax.Array]:
    """The inverse Hessian of the pairs, from the oldest to the newest, times a vector: the two-loop recursion."""

    def backward(q: list[jax.Array], i: jax.Array) -> tuple[list[jax.Array], jax.Array]:
        s, y, weight = jax.tree.map(lambda memory: memory[i], pairs)
        alpha = weight * dot(s, q)
        return add_scaled(q, -alpha, y), alpha

    def forward(r: list[jax.Array], step: tuple[jax.Array, jax.Array]) -> tuple[list[jax.Array], None]:
        i, alpha = step
        s, y, weight = jax.tree.map(lambda memory: memory[i], pairs)
        return add_scaled(r, alpha - weight * dot(y, r), s), None

    newest = order[jnp.max(jnp.where(pairs.weights[order] > 0.0, jnp.arange(len(order)), 0))]
    weight, y = pairs.weights[newest], [memory[newest] for memory in pairs.y]
    any_pair = weight > 0.0
    gamma = jnp.where(any_pair, 1.0 / jnp.where(any_pair, weight * dot(y, y), 1.0), shrinkage(root(dot(g, g)), 1.0))
    q, alphas = jax.lax.scan(backward, g, order, reverse=True)
    r = [(gamma * x).astype(x.dtype) for x in q]
    return jax.lax.scan(forward, r, (order, alphas))[0]


def add_scaled(a: list[jax.Array], factor: jax.Array, b: list[jax.Array]) -> list[jax.Array]:
    return [x + (factor * y).astype(x.dtype) for x, y in zip(a, b, strict=True)]


def as_wide_array(x: Any) -> jax.Array:
    return jnp.asarray(x, check.promote(jnp.result_type(x)))


@composition
def lbfgs(
    memory_size: int = 10,
    *,
    max_linesearch_steps: int = 20,
    slope_rtol: Fraction = 1e-4,
    curv_rtol: Fraction = 0.9,
    max_learning_rate: Positive | None = None,
):
    r"""L-BFGS, $w \leftarrow w - \eta H g$ with $\eta$ from a line search: for losses without noise, such as the loss
    over all data.

    `update` takes `value`, `grad` and `value_fn` beside the parameters; `optax.value_and_grad_from_state(value_fn)`
    gets the first two from the state, where the line search left them. Data that the loss takes is handed to `update`
    too. `metrics(state)["linesearch_succeeded"]` says how the search went.

    **Arguments:** `memory_size` as in `scale_by_lbfgs`, the others as in `scale_by_zoom_linesearch`. The states and the
    sources are those of both. Equals `optax.lbfgs()`.

    >>> import gradtx, jax, jax.numpy as jnp
    >>> tx, w = gradtx.lbfgs(), jnp.array([1.0, 2.0])
    >>> value, grad = jax.value_and_grad(loss := lambda w: jnp.sum((w - 3.0) ** 2))(w)
    >>> updates, state = tx.update(grad, tx.init(w), w, value=value, grad=grad, value_fn=loss)
    >>> float(loss(w)), round(float(state[-1].value), 3)
    (5.0, 1.528)
    """
    search = scale_by_zoom_linesearch(
        max_linesearch_steps, slope_rtol=slope_rtol, curv_rtol=curv_rtol, max_learning_rate=max_learning_rate
    )
    return going_down(Composed.of(tx=chain(scale_by_lbfgs(memory_size), scale(-1.0), search)))
