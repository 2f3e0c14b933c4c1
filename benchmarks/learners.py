"""Two small things to learn, on data that come with Python and with scikit-learn, for all seeds at once.

A transformer of two layers guesses the next letter of Python's manual, and a network of two hidden layers reads digits.
"""

from collections.abc import Callable
from pydoc_data.topics import topics
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gradtx
from gradtx.demo import digits

LAYERS, WIDTH, HEADS, LENGTH, LETTERS, EXAMPLES = 2, 48, 4, 64, 8, 64  # batches of 8 excerpts, of 64 images

Params = Any
Make = Callable[[Any], gradtx.Transformation]  # an optimizer with this key


class Learner(NamedTuple):
    """What is learned: `loss(params, batch)`, from where, by which batches, and how it is judged at the end."""

    name: str
    rate: float
    start: Callable[[int], Params]
    batches: Callable[[int, int], Any]  # of a seed, so many
    loss: Callable[[Params, Any], jax.Array]
    judge: Callable[[Params], jax.Array]


# ---- the transformer ----


def normalized(x: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6)


def layer(x: jax.Array, own: Params) -> tuple[jax.Array, None]:
    inputs = own["norms"][0] * normalized(x)
    q, k, v = [(inputs @ kernel).reshape(*x.shape[:2], HEADS, -1) for kernel in own["qkv"]]
    x = x + jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape) @ own["out"]
    return x + jax.nn.gelu(own["norms"][1] * normalized(x) @ own["up"]) @ own["down"], None


def letters() -> Learner:
    """Two layers of width 48 and four heads, of Python's manual as `help` shows it, the last tenth for validation."""
    text = "\n\n".join(topics[name] for name in sorted(topics))
    different, tokens = np.unique(list(text), return_inverse=True)
    train, validation = jnp.split(jnp.asarray(tokens), [int(0.9 * len(tokens))])
    excerpts = jnp.linspace(0, len(validation) - LENGTH - 1, 64).astype(int)

    def start(seed: int) -> Params:
        random = np.random.default_rng(seed)

        def normal(*shape: int, scale: float = WIDTH**-0.5) -> jax.Array:
            return jnp.asarray(scale * random.standard_normal(shape, np.float32))

        return {
            "embed": normal(len(different), WIDTH, scale=1.0),
            "position": normal(LENGTH, WIDTH, scale=0.3),
            "layers": {
                "norms": jnp.ones((LAYERS, 2, WIDTH)),
                "qkv": normal(LAYERS, 3, WIDTH, WIDTH),
                "out": normal(LAYERS, WIDTH, WIDTH),
                "up": normal(LAYERS, WIDTH, 4 * WIDTH),
                "down": normal(LAYERS, 4 * WIDTH, WIDTH, scale=(4 * WIDTH) ** -0.5),
            },
            "norm": jnp.ones(WIDTH),
            "head": normal(WIDTH, len(different), scale=0.1 * WIDTH**-0.5),
        }

    def batches(seed: int, steps: int) -> jax.Array:
        places = np.random.default_rng(1000 + seed).integers(0, len(train) - LENGTH - 1, (steps, LETTERS))
        return train[places[..., None] + np.arange(LENGTH + 1)]

    def loss(params: Params, seen: jax.Array) -> jax.Array:
        x, _ = jax.lax.scan(layer, params["embed"][seen[:, :-1]] + params["position"], params["layers"])
        logs = jax.nn.log_softmax(params["norm"] * normalized(x) @ params["head"])
        return -jnp.mean(jnp.take_along_axis(logs, seen[:, 1:, None], axis=2))

    def judge(params: Params) -> jax.Array:
        return loss(params, validation[excerpts[:, None] + jnp.arange(LENGTH + 1)])

    return Learner("transformer", 3e-3, start, batches, loss, judge)


# ---- the digits ----


def numerals() -> Learner:
    """The demo's classifier, judged by the images that it is trained on."""
    images, labels = digits.load().train

    def batches(seed: int, steps: int) -> tuple[jax.Array, jax.Array]:
        stream = digits.batches(seed, images, labels, EXAMPLES)
        own = [next(stream) for _ in range(steps)]
        return jnp.stack([x for x, _ in own]), jnp.stack([y for _, y in own])

    def loss(params: Params, batch: tuple[jax.Array, jax.Array]) -> jax.Array:
        return digits.cross_entropy(params, *batch)

    def judge(params: Params) -> jax.Array:
        return digits.cross_entropy(params, jnp.asarray(images), jnp.asarray(labels))

    return Learner("digits", 1e-3, digits.initial, batches, loss, judge)


# ---- training ----


def wide(params: Params) -> Params:
    """Parameters in which the model computes, whatever they are held in."""
    return jax.tree.map(lambda p: p.astype(jnp.float32), params)


def losses(learner: Learner, make: Make, dtype: Any, seeds: list[int], steps: int, disturbed: float = 0.0) -> Any:
    """The loss at the end for each seed: all in one program, in which a seed is data.

    Parameters of 16 bits become float32 ahead of the model, which so differs in nothing but their values; their
    gradients are of 16 bits again.
    """

    def train(key: Any, params: Params, batches: Any) -> jax.Array:
        tx = make(key)

        def step(carry: Any, batch: Any) -> Any:
            params, state = carry
            grads = jax.grad(lambda p: learner.loss(wide(p), batch))(params)
            updates, state = tx.update(grads, state, params)
            return (gradtx.apply_updates(params, updates), state), None

        (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), batches)
        return learner.judge(wide(params))

    starts = [jax.tree.map(lambda p: (p * (1 + disturbed)).astype(dtype), learner.start(seed)) for seed in seeds]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *starts)
    batches = jax.tree.map(lambda *x: jnp.stack(x), *[learner.batches(seed, steps) for seed in seeds])
    return np.asarray(
        jax.jit(jax.vmap(train))(jax.vmap(jax.random.key)(jnp.asarray(seeds)), stacked, batches), np.float64
    )


def bytes_per_parameter(learner: Learner, make: Make, dtype: Any) -> tuple[float, float]:
    """Of the state and of the parameters."""
    params = jax.tree.map(lambda p: p.astype(dtype), learner.start(0))
    state = jax.eval_shape(lambda p: make(jax.random.key(0)).init(p), params)
    n = sum(p.size for p in jax.tree.leaves(params))
    own, total = [sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree)) / n for tree in (state, params)]
    return own, total
