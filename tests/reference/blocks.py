"""Blocks and optimizers. Each block is a generator: the gradients of one array go in, what it puts out comes out.

`g` gradient, `w` parameter, `t` = 1 at the first update.
"""

import itertools

import numpy as np


def momentum(grads, decay, nesterov=False, dampening=0.0):
    """v ← decay·v + (1 - dampening)·g; out v, or with Nesterov (1 - dampening)·g + decay·v."""
    v = 0.0
    for g in grads:
        v = decay * v + (1 - dampening) * g
        yield (1 - dampening) * g + decay * v if nesterov else v


def ema(grads, decay):
    """v ← decay·v + (1 - decay)·g; out v."""
    v = 0.0
    for g in grads:
        v = decay * v + (1 - decay) * g
        yield v


def bias_correction(averages, decay):
    """out v / (1 - decay^t)."""
    for t, v in enumerate(averages, start=1):
        yield v / (1 - decay**t)


def rms(grads, decay, eps=1e-8, eps_root=0.0, centered=False, debias=False, initial=0.0):
    """r ← decay·r + (1 - decay)·g², m ← decay·m + (1 - decay)·g; out g / (√(r + eps_root) + eps).

    Centered, r - m² is under the root in place of r; with debias both averages are first divided by 1 - decay^t.
    """
    r, m = initial, 0.0
    for t, g in enumerate(grads, start=1):
        r = decay * r + (1 - decay) * g**2
        m = decay * m + (1 - decay) * g
        weight = 1 - decay**t if debias else 1.0
        variance = r / weight - (m / weight) ** 2 if centered else r / weight
        yield g / (np.sqrt(variance + eps_root) + eps)


def adam(grads, b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0, nesterov=False):
    """m ← b1·m + (1 - b1)·g, v ← b2·v + (1 - b2)·g²; out m̂ / (√(v̂ + eps_root) + eps).

    m̂ = m/(1 - b1^t), v̂ = v/(1 - b2^t); with Nesterov, m̂ = b1·m/(1 - b1^(t+1)) + (1 - b1)·g/(1 - b1^t).
    """
    m = v = 0.0
    for t, g in enumerate(grads, start=1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
        if nesterov:
            m_hat = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        yield m_hat / (np.sqrt(v_hat + eps_root) + eps)


def adamax(grads, b1=0.9, b2=0.999, eps=1e-8, eps_max=0.0):
    """m ← b1·m + (1 - b1)·g, u ← max(b2·u, |g| + eps_max); out m/(1 - b1^t) / (u + eps)."""
    m = u = 0.0
    for t, g in enumerate(grads, start=1):
        m = b1 * m + (1 - b1) * g
        u = np.maximum(b2 * u, np.abs(g) + eps_max)
        yield m / (1 - b1**t) / (u + eps)


def nadam(grads, b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0, momentum_decay=0.004):
    """Adam with μ_t = b1·(1 - ½·0.96^(t·ψ)) and Π_t = μ_1 ⋯ μ_t, where m̂ is μ_(t+1)·m/(1 - Π_(t+1)) +
    (1 - μ_t)·g/(1 - Π_t).
    """
    m = v = 0.0
    product = 1.0
    for t, g in enumerate(grads, start=1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        now, ahead = (b1 * (1 - 0.5 * 0.96 ** (i * momentum_decay)) for i in (t, t + 1))
        product *= now
        m_hat = ahead * m / (1 - product * ahead) + (1 - now) * g / (1 - product)
        yield m_hat / (np.sqrt(v / (1 - b2**t) + eps_root) + eps)


def amsgrad(grads, b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0, debias=True, debias_first=False):
    """Adam with the largest v so far, corrected afterwards (torch) or not at all (the paper); or v̂ so far (Optax)."""
    m = v = largest = 0.0
    for t, g in enumerate(grads, start=1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        largest = np.maximum(largest, v / (1 - b2**t) if debias_first else v)
        m_hat = m / (1 - b1**t) if debias else m
        v_hat = largest / (1 - b2**t) if debias and not debias_first else largest
        yield m_hat / (np.sqrt(v_hat + eps_root) + eps)


def rss(grads, eps=1e-8, eps_root=0.0, initial=0.0):
    """h ← h + g²; out g / (√(h + eps_root) + eps)."""
    h = initial
    for g in grads:
        h = h + g**2
        yield g / (np.sqrt(h + eps_root) + eps)


def adadelta(grads, decay=0.9, eps=1e-6):
    """r ← decay·r + (1 - decay)·g²; d = √(s + ε)/√(r + ε)·g; s ← decay·s + (1 - decay)·d²; out d."""
    r = s = 0.0
    for g in grads:
        r = decay * r + (1 - decay) * g**2
        d = np.sqrt(s + eps) / np.sqrt(r + eps) * g
        s = decay * s + (1 - decay) * d**2
        yield d


def lion(grads, b1=0.9, b2=0.99):
    """out sign(b1·m + (1 - b1)·g); m ← b2·m + (1 - b2)·g."""
    m = 0.0
    for g in grads:
        yield np.sign(b1 * m + (1 - b1) * g)
        m = b2 * m + (1 - b2) * g


def clip_by_value(grads, limit):
    """Each element into [-limit, limit]."""
    for g in grads:
        yield np.where(g > limit, limit, np.where(g < -limit, -limit, g))


def clip_by_norm(grads, max_norm):
    """g, or g·max_norm/‖g‖ where ‖g‖ > max_norm. The norm of a whole tree is that of its arrays as one vector."""
    for g in grads:
        norm = np.sqrt(np.sum(g**2))
        yield g * (max_norm / norm) if norm > max_norm else g


def add_decayed_weights(grads, weights, weight_decay):
    """g + λ·w."""
    for g, w in zip(grads, weights, strict=True):
        yield g + weight_decay * w


def add_sign_decay(grads, weights, sign_decay):
    """g + λ·sign(w)."""
    for g, w in zip(grads, weights, strict=True):
        yield g + sign_decay * np.sign(w)


def soft_threshold(updates, weights, threshold):
    """The update to w + u moved toward zero by the threshold, and to zero from within it."""
    for u, w in zip(updates, weights, strict=True):
        x = w + u
        yield np.where(x > threshold, x - threshold, np.where(x < -threshold, x + threshold, 0.0)) - w


def constrain_norm(updates, weights, max_norm):
    """The update to w + u with each of its columns shortened to the norm where it is longer."""
    for u, w in zip(updates, weights, strict=True):
        lengths = np.sqrt(np.sum((w + u) ** 2, axis=0))
        yield (
            np.where(lengths > max_norm, (w + u) * max_norm / np.maximum(lengths, max_norm) - w, u)
            if u.ndim == 2
            else u
        )


def descent(w, directions, rates, weight_decay=0.0):
    """w ← w - η·(d + λ·w): the parameters after each step, with decoupled decay. One rate for all steps or one each."""
    for d, rate in zip(directions, itertools.repeat(rates) if isinstance(rates, float) else rates, strict=False):
        w = w - rate * (d + weight_decay * w)
        yield w
