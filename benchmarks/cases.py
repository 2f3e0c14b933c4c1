"""What is compared: the trees of parameters, the optimizers, and one step of each library."""

import importlib
import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax

import gradtx
from gradtx.values.value import text_of

Shapes = dict[str, tuple[int, ...]]


# ---- trees ----


def one(elements: int) -> Shapes:
    return {"w": (elements,)}


def gpt2(width: int, layers: int = 12) -> Shapes:
    """The parameters of GPT-2 small, whose width is 768; its head shares the token embedding."""

    def with_bias(name: str, *shape: int) -> Shapes:
        return {f"{name}.weight": shape, f"{name}.bias": shape[-1:]}

    shapes: Shapes = {"wte": (50257, width), "wpe": (1024, width)}
    for i in range(layers):
        shapes |= with_bias(f"h.{i}.ln_1", width)
        shapes |= with_bias(f"h.{i}.attn.c_attn", width, 3 * width)
        shapes |= with_bias(f"h.{i}.attn.c_proj", width, width)
        shapes |= with_bias(f"h.{i}.ln_2", width)
        shapes |= with_bias(f"h.{i}.mlp.c_fc", width, 4 * width)
        shapes |= with_bias(f"h.{i}.mlp.c_proj", 4 * width, width)
    return shapes | with_bias("ln_f", width)


def many(arrays: int) -> Shapes:
    return {f"w{i}": (64, 64) for i in range(arrays)}


@dataclass(frozen=True)
class Tree:
    title: str
    full: Shapes
    quick: Shapes


TREES = {
    "one": Tree("one large array", one(2**26), one(2**20)),
    "gpt2": Tree("GPT-2", gpt2(768), gpt2(64)),
    "many": Tree("many small arrays", many(1000), many(50)),
}


def size(shapes: Iterable[tuple[int, ...]]) -> int:
    return sum(int(np.prod(shape)) for shape in shapes)


def gradients(shapes: Shapes) -> dict[str, np.ndarray]:
    """Normal numbers: zeros would make the moments subnormal, which CPUs compute slowly."""
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}


# ---- optimizers ----


LIBRARIES = ("gradtx", "Optax")


@dataclass(frozen=True)
class Optimizer:
    title: str
    gradtx: Callable[[float], Any]  # from the learning rate
    optax: Callable[[float], Any] | None  # None where only gradtx has it
    torch: str
    torch_arguments: dict[str, float]
    max_norm: float | None
    traffic: int | None  # bytes per float32 parameter that a step must read and write at the least; None: by its state

    @property
    def libraries(self) -> tuple[str, ...]:
        return LIBRARIES if self.optax else LIBRARIES[:1]

    def build(self, library: str, learning_rate: float = 1e-3) -> Any:
        make = self.gradtx if library == "gradtx" or self.optax is None else self.optax
        return make(learning_rate)


def alone(tx: gradtx.Transformation) -> Optimizer:
    """A transformation of gradtx with nothing beside it."""
    return Optimizer(text_of(tx), lambda lr: tx, None, "", {}, max_norm=None, traffic=None)


OPTIMIZERS = {
    "clip-adamw": Optimizer(
        "Clipping by global norm + AdamW",
        lambda lr: gradtx.chain(gradtx.clip_by_global_norm(1.0), gradtx.adamw(lr, weight_decay=0.1)),
        lambda lr: optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(lr, weight_decay=0.1)),
        "AdamW",
        dict(weight_decay=0.1),
        max_norm=1.0,
        traffic=32,  # the gradient is read once for the norm and once more for the moments
    ),
    "adam": Optimizer(
        "Adam",
        lambda lr: gradtx.adam(lr),
        lambda lr: optax.adam(lr),
        "Adam",
        {},
        max_norm=None,
        traffic=28,  # reads the gradient, two moments, the parameter; writes the last three
    ),
}


# ---- steps ----


def jax_step(library: str, tx: Any) -> Callable[..., Any]:
    """A new function each time, since JAX remembers the traces of the ones it has seen."""
    apply_updates: Any = gradtx.apply_updates if library == "gradtx" else optax.apply_updates

    def step(params: Any, state: Any, grads: Any) -> Any:
        updates, state = tx.update(grads, state, params)
        return apply_updates(params, updates), state

    return step


class JaxRun:
    """A compiled step with the parameters and the state that it gives to itself."""

    def __init__(self, compiled: Callable[..., Any], tx: Any, grads: Any):
        self.compiled = compiled
        self.tx = tx
        self.grads = grads
        self.params = jax.tree.map(jax.numpy.copy, grads)  # any values do, as long as all libraries have the same
        self.state = tx.init(self.params)

    def __call__(self) -> None:
        self.params, self.state = jax.block_until_ready(self.compiled(self.params, self.state, self.grads))

    def eager(self) -> None:
        jax.block_until_ready(self.tx.update(self.grads, self.state, self.params))

    def parameter(self, name: str) -> np.ndarray:
        return np.asarray(self.params[name])


def bytes_accessed(compiled: Any) -> float:
    costs = compiled.cost_analysis()
    return (costs[0] if isinstance(costs, list) else costs)["bytes accessed"]  # a list in older JAX


def import_torch() -> Any:
    return importlib.import_module("torch") if importlib.util.find_spec("torch") else None


class TorchRun:
    """torch's step, which changes the parameters in place; `foreach` or `fused` is the implementation."""

    def __init__(self, torch: Any, optimizer: Optimizer, implementation: str, grads: dict[str, np.ndarray]):
        self.params = {name: torch.tensor(g, requires_grad=True) for name, g in grads.items()}
        for name, g in grads.items():
            self.params[name].grad = torch.tensor(g)  # a copy, since torch clips in place
        kind = getattr(torch.optim, optimizer.torch)
        chosen = {implementation: True} | optimizer.torch_arguments
        self.optimizer = kind(self.params.values(), lr=1e-3, **chosen)
        self.clip = torch.nn.utils.clip_grad_norm_
        self.max_norm = optimizer.max_norm

    def __call__(self) -> None:
        if self.max_norm is not None:
            self.clip(self.params.values(), self.max_norm, foreach=True)
        self.optimizer.step()

    def parameter(self, name: str) -> np.ndarray:
        return self.params[name].detach().numpy()
