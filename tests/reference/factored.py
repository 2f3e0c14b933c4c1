"""Second moments of less than an element each, and sizes of arrays. Each block is a generator, as in `blocks.py`."""

import numpy as np


def rms(x):
    return np.sqrt(np.mean(x**2))


def factored_rms(grads, decay_rate=0.8, offset=0, min_dim=128, eps=1e-30, dims=None):
    """β = 1 - (t - offset)^(-decay_rate), 0 up to there; r and c ← β·old + (1 - β)·means of g² + eps along the largest
    and the second largest axis; out g / √(r·c/mean r). An array that has no two such axes: v ← β·v + (1 - β)(g² + eps);
    out g / √v.
    """
    r = c = 0.0
    for t, g in enumerate(grads, start=1):
        beta = 1 - max(t - offset, 1) ** -decay_rate
        q = g**2 + eps
        pair = [d % g.ndim for d in dims if g.ndim > 1] if dims else list(range(g.ndim))
        pair = sorted(pair, key=lambda axis: (g.shape[axis], axis))[-2:]
        if g.ndim < 2 or g.shape[pair[0]] < min_dim:
            r = beta * r + (1 - beta) * q
            yield g / np.sqrt(r)
            continue
        second, largest = pair
        r = beta * r + (1 - beta) * q.mean(largest, keepdims=True)
        c = beta * c + (1 - beta) * q.mean(second, keepdims=True)
        yield g / np.sqrt(r * c / r.mean(second, keepdims=True))


def adafactor(w, grads, rate, max_rms=1.0, relative=True, momentum=None, decay=0.0, **options):
    """w after each step: the direction to a root mean square of max_rms, times the rate and max(rms w, 0.001), its
    average with momentum, and decay·w.
    """
    m, step = 0.0, None
    for step in factored_rms(grads, **options):
        step = rate * step / max(1.0, rms(step) / max_rms)
        if relative:
            step = step * max(rms(w), 1e-3)
        if momentum is not None:
            step = m = momentum * m + (1 - momentum) * step
        w = w - step - decay * w
        yield w


def adam_mini(grads, axes, b1=0.9, b2=0.999, eps=1e-8):
    """m ← b1·m + (1 - b1)·g, v ← b2·v + (1 - b2)·mean g² over the axes; out m̂ / (√v̂ + eps)."""
    m = v = 0.0
    for t, g in enumerate(grads, start=1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * np.mean(g**2, axes, keepdims=True)
        yield m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)
