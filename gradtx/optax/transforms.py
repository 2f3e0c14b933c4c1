"""Optax's `transforms`, with what gradtx has of it."""

from typing import Any

import optax

from gradtx.optax.blocks import (
    add_decayed_weights,
    clip,
    clip_by_block_rms,
    clip_by_global_norm,
    ema,
    freeze,
    selective_transform,
    trace,
)
from gradtx.optax.conditions import conditionally_mask, conditionally_transform, snapshot
from gradtx.optax.front import add_noise, zero_nans
from gradtx.optax.other_trees import flatten
from gradtx.optax.private import per_example_global_norm_clip, per_example_layer_norm_clip
from gradtx.optax.weights import adaptive_grad_clip, keep_params_nonnegative
from gradtx.optax.wrappers import MultiSteps, apply_if_finite, chain, masked, named_chain, partition

__all__ = [
    "MultiSteps",
    "adaptive_grad_clip",
    "add_decayed_weights",
    "add_noise",
    "apply_if_finite",
    "chain",
    "clip",
    "clip_by_block_rms",
    "clip_by_global_norm",
    "conditionally_mask",
    "conditionally_transform",
    "ema",
    "flatten",
    "freeze",
    "keep_params_nonnegative",
    "masked",
    "named_chain",
    "partition",
    "per_example_global_norm_clip",
    "per_example_layer_norm_clip",
    "selective_transform",
    "snapshot",
    "trace",
    "zero_nans",
]


def __getattr__(name: str) -> Any:  # what gradtx lacks
    return getattr(optax.transforms, name)


def __dir__() -> list[str]:
    return sorted({*dir(optax.transforms), *globals()})
