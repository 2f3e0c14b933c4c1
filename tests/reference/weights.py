"""Blocks that relate updates to the parameters, for one array: gradients and parameters go in, updates come out."""

import numpy as np


def length(x, axes=None):
    return np.sqrt(np.sum(np.abs(x) ** 2, axis=axes, keepdims=axes is not None))


def trust_ratio(grads, weights, coefficient=1.0, min_norm=0.0, eps=0.0):
    """out c·g·max(‖w‖, μ)/(max(‖g‖, μ) + eps), g where either norm is 0."""
    for g, w in zip(grads, weights, strict=True):
        size, own = max(length(w), min_norm), max(length(g), min_norm)
        yield coefficient * g * size / (own + eps) if size and own else g


def adaptive_clip(grads, weights, clip, eps=1e-3, axes=None):
    """out g·min(1, clip·max(‖w‖, eps)/‖g‖) by unit."""
    for g, w in zip(grads, weights, strict=True):
        limit, own = clip * np.maximum(length(w, axes), eps), length(g, axes)
        yield g * np.where(own > limit, limit / np.where(own > 0, own, 1.0), 1.0)


def squashed(grads, scale=1.5, share=0.9, limit=2.0):
    """y = g/scale; out scale·(share·tanh y + (1 - share)·sign(y)·ln(1 + |y|)), clipped."""
    for g in grads:
        y = g / scale
        out = scale * (share * np.tanh(y) + (1 - share) * np.copysign(np.log(1 + np.abs(y)), y))
        yield np.maximum(np.minimum(out, limit), -limit)


def decay(grads, weights, rate, start=0.0, cautious=False, memory=1.0):
    """start ← memory·start + (1 - memory)·w; out g + rate·(w - start), cautious only where g·(w - start) ≥ 0."""
    for g, w in zip(grads, weights, strict=True):
        start = memory * start + (1 - memory) * w
        yield g + rate * (w - start) * (not cautious or g * (w - start) >= 0)


def renormalized(updates, weights, rate):
    """out (w + u)/√(1 + rate²) - w."""
    for u, w in zip(updates, weights, strict=True):
        yield (w + u) / np.sqrt(1 + rate**2) - w
