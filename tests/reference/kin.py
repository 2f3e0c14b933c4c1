"""Kin of Adam. Each block is a generator, as in `blocks.py`: `grads` of one array, `weights` beside them."""

import numpy as np

from tests.reference.blocks import bias_correction, ema, rms


def hat(average, decay, t):
    return average / (1 - decay**t)


def belief(grads, b1=0.9, b2=0.999, eps=1e-16, eps_root=1e-16, nesterov=False):
    """m ← E(g, b1); s ← b2·s + (1 - b2)(g - m)² + eps_root with the new m; out m̂ / (√ŝ + eps)."""
    m = s = 0.0
    for t, g in enumerate(grads, start=1):
        m = b1 * m + (1 - b1) * g
        s = b2 * s + (1 - b2) * (g - m) ** 2 + eps_root
        ahead = b1 * hat(m, b1, t + 1) + (1 - b1) * hat(g, b1, t) if nesterov else hat(m, b1, t)
        yield ahead / (np.sqrt(hat(s, b2, t)) + eps)


def acprop(grads, b1=0.9, b2=0.999, eps=1e-16, eps_root=1e-16):
    """out g / (√ŝ + eps) with the s of the step before, 1 for the root at t = 1; then s with the old m, then m."""
    m = s = 0.0
    for t, g in enumerate(grads, start=1):
        yield g / ((np.sqrt(hat(s, b2, t - 1)) if t > 1 else 1.0) + eps)
        s = b2 * s + (1 - b2) * (g - m) ** 2 + eps_root
        m = b1 * m + (1 - b1) * g


def yogi(grads, b1=0.9, b2=0.999, eps=1e-3, eps_root=0.0, initial=1e-6):
    """v ← v - (1 - b2)·sign(v - g²)·g²; out m̂ / (√(v̂ + eps_root) + eps); m and v start at `initial`."""
    m = v = initial
    for t, g in enumerate(grads, start=1):
        m = b1 * m + (1 - b1) * g
        v = v - (1 - b2) * np.sign(v - g**2) * g**2
        yield hat(m, b1, t) / (np.sqrt(hat(v, b2, t) + eps_root) + eps)


def adan(grads, b1=0.98, b2=0.92, b3=0.99, eps=1e-8):
    """d = g - g₋, 0 at t = 1; m: E(g, b1), v: E(d, b2), n: E((g + b2·d)², b3); out (m̂ + b2·v̂) / (√n̂ + eps)."""
    m = v = n = 0.0
    last = None
    for t, g in enumerate(grads, start=1):
        d = 0.0 * g if last is None else g - last
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * d
        n = b3 * n + (1 - b3) * (g + b2 * d) ** 2
        yield (hat(m, b1, t) + b2 * hat(v, b2, t)) / (np.sqrt(hat(n, b3, t)) + eps)
        last = g


def radam(grads, b1=0.9, b2=0.999, eps=1e-8, threshold=5, eps_root=0.0, eps_hat=False):
    """worth = final - 2t·b2ᵗ/(1 - b2ᵗ), final = 2/(1 - b2) - 1; beyond the threshold r·m̂ / (√(v̂ + eps_root) + eps),
    else m̂. The worth is the small difference of two large numbers.
    """
    m = v = 0.0
    b = np.longdouble(b2)
    final = 2 / (1 - b) - 1
    for t, g in enumerate(grads, start=1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        worth = final - 2 * t * b**t / (1 - b**t)
        if worth > threshold:
            r = float(np.sqrt((worth - 4) * (worth - 2) * final / ((final - 4) * (final - 2) * worth)))
            beside = eps / np.sqrt(1 - b2**t) if eps_hat else eps
            yield r * hat(m, b1, t) / (np.sqrt(hat(v, b2, t) + eps_root) + beside)
        else:
            yield hat(m, b1, t)


def laprop(grads, b1=0.9, b2=0.999, eps=1e-15):
    """The corrected average of g / (√v̂ + eps)."""
    return bias_correction(ema(rms(grads, b2, eps, debias=True), b1), b1)


def stable_adamw(grads, weights, b1=0.9, b2=0.99, eps=1e-6, weight_decay=1e-2):
    """m and v averaged with (b - bᵗ)/(1 - bᵗ); out (m/(√v + eps) + λw) / max(1, rms of g/√max(v, eps²))."""
    m = v = 0.0
    for t, (g, w) in enumerate(zip(grads, weights, strict=True), start=1):
        c1, c2 = (b1 - b1**t) / (1 - b1**t), (b2 - b2**t) / (1 - b2**t)
        m = c1 * m + (1 - c1) * g
        v = c2 * v + (1 - c2) * g**2
        surprise = np.sqrt(np.mean(g**2 / np.maximum(v, eps**2)))
        yield (m / (np.sqrt(v) + eps) + weight_decay * w) / max(1.0, surprise)


def novograd(grads, weights, b1=0.9, b2=0.25, eps=1e-6, eps_root=0.0, weight_decay=0.0):
    """v ← ‖g‖² at t = 1, then b2·v + (1 - b2)‖g‖²; m ← b1·m + g/(√(v + eps_root) + eps) + λw; out m."""
    m, v = 0.0, None
    for g, w in zip(grads, weights, strict=True):
        q = np.sum(g**2)
        v = q if v is None else b2 * v + (1 - b2) * q
        m = b1 * m + g / (np.sqrt(v + eps_root) + eps) + weight_decay * w
        yield m


def shrink(updates, weights, share):
    """u ← (w + u)/(1 + share) - w."""
    for u, w in zip(updates, weights, strict=True):
        yield (w + u) / (1 + share) - w
