"""A small language model of bytes: a transformer (Vaswani et al., 2017) that norms what goes into each sublayer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

BYTES, HEADS = 256, 4
INNER = "layers/"  # the paths of what lies between the embeddings and the head

Weights = Any


class ModelSize(NamedTuple):
    layers: int
    width: int
    context: int  # the bytes that a prediction may look back to


def initial_weights(seed: int, size: ModelSize) -> Weights:
    """The weights that every optimizer starts from, as NumPy's arrays."""
    random = np.random.default_rng(seed)
    d, deep = size.width, (2 * size.layers) ** -0.5  # so that all sublayers together add a variance of about one

    def matrix(n: int, m: int, scale: float) -> np.ndarray:
        return random.standard_normal((n, m), np.float32) * np.float32(scale)

    def layer() -> Weights:
        qkv, out = matrix(d, 3 * d, d**-0.5), matrix(d, d, d**-0.5 * deep)
        up, down = matrix(d, 4 * d, d**-0.5), matrix(4 * d, d, (4 * d) ** -0.5 * deep)
        return {
            "attention": {"norm": np.ones(d, np.float32), "qkv": qkv, "out": out},
            "mlp": {"norm": np.ones(d, np.float32), "up": up, "down": down},
        }

    embed = {"bytes": matrix(BYTES, d, 0.02), "places": matrix(size.context, d, 0.02)}
    layers = [layer() for _ in range(size.layers)]
    return {"embed": embed, "layers": layers, "norm": np.ones(d, np.float32), "head": matrix(d, BYTES, 0.02)}


def rms_norm(x: jax.Array, scale: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6) * scale.reshape(1, 1, -1)


def attend(layer: Weights, x: jax.Array) -> jax.Array:
    """Each byte looks at itself and at those before it."""
    rows, length, d = x.shape
    q, k, v = jnp.moveaxis((x @ layer["qkv"]).reshape(rows, length, 3, HEADS, d // HEADS), 2, 0)
    return jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape) @ layer["out"]


def next_byte_logits(params: Weights, text: jax.Array) -> jax.Array:
    """For each byte of each row, the logits of the one behind it."""
    x = params["embed"]["bytes"][text] + params["embed"]["places"][None, : text.shape[1]]
    for layer in params["layers"]:
        attention, mlp = layer["attention"], layer["mlp"]
        x = x + attend(attention, rms_norm(x, attention["norm"]))
        x = x + jax.nn.gelu(rms_norm(x, mlp["norm"]) @ mlp["up"]) @ mlp["down"]
    return rms_norm(x, params["norm"]) @ params["head"]


def bits_per_byte(params: Weights, passages: jax.Array) -> jax.Array:
    """For each row, the mean of -log₂ of the probability of every byte but the first."""
    text = passages.astype(jnp.int32)
    logits = jax.nn.log_softmax(next_byte_logits(params, text[:, :-1]))
    return jnp.take_along_axis(logits, text[:, 1:, None], axis=-1).mean(axis=(1, 2)) * np.float32(-1 / np.log(2))


@jax.jit
def continue_text(params: Weights, start: jax.Array, key: jax.Array, temperature: float = 0.6) -> jax.Array:
    """As many bytes again as `start` has, three times over, each drawn from the model's prediction."""

    def draw(window: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        drawn = jax.random.categorical(key, next_byte_logits(params, window[None])[0, -1] / temperature)
        return jnp.append(window[1:], drawn.astype(window.dtype)), drawn

    return jax.lax.scan(draw, start.astype(jnp.int32), jax.random.split(key, 3 * len(start)))[1]
