"""Rules that find their rate, on one vector: `grad(w, t)` and `loss(w, t)` are those of step t = 0, 1, …"""

import numpy as np


def dog(w, grad, steps, reps=1e-6, eps=1e-8, distance=None, rate=None):
    """r ← max(r, ‖w - w₀‖), squares ← squares + ‖g‖²; w ← w - r·g/√(squares + eps)."""
    start, squares = w, 0.0
    r = (0.0 if rate else reps * (1 + np.linalg.norm(w))) if distance is None else distance
    for t in range(steps):
        g = grad(w, t)
        r = max(r, np.linalg.norm(w - start))
        squares += g @ g
        w = w - (rate if rate and t == 0 else r / np.sqrt(squares + eps)) * g
        yield w


def dowg(w, grad, steps, eps=1e-4, distance=None):
    """r² ← max(r², ‖w - w₀‖²), v ← v + r²‖g‖²; w ← w - r²·g/(√v + eps)."""
    start, v = w, 0.0
    r2 = eps if distance is None else distance**2
    for t in range(steps):
        g = grad(w, t)
        r2 = max(r2, (w - start) @ (w - start))
        v += r2 * (g @ g)
        w = w - r2 * g / (np.sqrt(v) + eps)
        yield w


def prodigy(w, grad, steps, rate=1.0, b1=0.9, b2=0.999, b3=None, eps=1e-8, decay=0.0, d0=1e-6, coef=1.0, **flags):
    """The formulas of the docstring, with d one step behind d' in all but eps; `kept`, which elements count for it."""
    start, d, most, total, kept = w, d0, d0, 0.0, flags.get("kept", slice(None))
    m = v = s = np.zeros_like(w)
    b3 = np.sqrt(b2) if b3 is None else b3
    for t in range(1, steps + 1):
        g = grad(w, t - 1)
        step = rate * d * (np.sqrt(1 - b2**t) / (1 - b1**t) if flags.get("debias") else 1.0)
        total = b3 * total + d / d0 * step * (g[kept] @ (start - w)[kept])
        m = b1 * m + (1 - b1) * d * g
        v = b2 * v + (1 - b2) * (d * g) ** 2
        s = b3 * s + d / d0 * (d if flags.get("safeguard") else step) * g
        far = coef * total / np.abs(s[kept]).sum()
        grown = flags.get("growth", np.inf) * (max(d, far) if d == d0 else d)
        most = max(most, far)
        d = min(most, grown)
        w = w - step * (decay * w + m / (np.sqrt(v) + d * eps))
        yield w


def dadapt_adamw(w, grad, steps, rate=1.0, b1=0.9, b2=0.999, eps=1e-8, decay=0.0, d0=1e-6, growth=np.inf):
    """The formulas of the docstring."""
    d, total, slow = d0, 0.0, np.sqrt(b2)
    m = v = s = np.zeros_like(w)
    for t in range(1, steps + 1):
        g = grad(w, t - 1)
        step = d * rate * np.sqrt(1 - b2**t) / (1 - b1**t)
        total = slow * total + (1 - slow) * step * (g @ (s / (np.sqrt(v) + eps)))
        m = b1 * m + (1 - b1) * step * g
        v = b2 * v + (1 - b2) * g**2
        s = slow * s + (1 - slow) * step * g
        d = max(d, min(total / ((1 - slow) * np.abs(s).sum()), growth * d))
        w = w - decay * step * w - m / (np.sqrt(v) + eps)
        yield w


def polyak(w, grad, loss, steps, most=1.0, least=0.0, eps=0.0, positive=False):
    """w ← w - min((f - f*)/(‖g‖² + eps), most)·g."""
    for t in range(steps):
        g, gap = grad(w, t), loss(w, t) - least
        w = w - min((max(gap, 0.0) if positive else gap) / (g @ g + eps), most) * g
        yield w


def momo(w, grad, loss, steps, rate=1.0, beta=0.9, lower=0.0, decay=0.0, adapt=False):
    """tau = min(rate, (growth·(average - bound - product) + m·w)₊/‖m‖²); w ← (w - tau·m)/growth, 1 + rate·decay."""
    m = average = product = 0.0
    bound, growth = lower, 1 + rate * decay
    for t in range(steps):
        g, f = grad(w, t), loss(w, t)
        b = beta if t else 0.0
        m, average, product = b * m + (1 - b) * g, b * average + (1 - b) * f, b * product + (1 - b) * (g @ w)
        cap = growth * (average - product) + m @ w
        if adapt and cap < growth * bound:
            bound = max(cap / (2 * growth), lower)
        tau = min(rate, max(growth * (average - bound - product) + m @ w, 0.0) / (m @ m))
        if adapt:
            bound = max(average + m @ w - product - tau * (m @ m) / 2, lower)
        w = (w - tau * m) / growth
        yield w


def momo_adam(w, grad, loss, steps, rate=0.01, b1=0.9, b2=0.999, eps=1e-8, lower=0.0, decay=0.0, adapt=False):
    """As `momo`, averages from zero, ‖m‖² in the norm of 1/scale, scale = eps + √v̂; w ← w/growth - tau·m/scale."""
    m = v = np.zeros_like(w)
    average = product = 0.0
    bound, growth = lower, 1 + rate * decay
    for t in range(1, steps + 1):
        g, f = grad(w, t - 1), loss(w, t - 1)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        average, product = b1 * average + (1 - b1) * f, b1 * product + (1 - b1) * (g @ w)
        scale, weight = eps + np.sqrt(v / (1 - b2**t)), 1 - b1**t
        squares = m @ (m / scale)
        cap = growth * (average - product) + m @ w
        if adapt and cap < growth * weight * bound:
            bound = max(cap / (2 * weight * growth), lower)
        tau = min(rate / weight, max(growth * (average - weight * bound - product) + m @ w, 0.0) / squares)
        if adapt:
            bound = max((average + m @ w - product - tau * squares / 2) / weight, lower)
        w = w / growth - tau * m / scale
        yield w


def cocob(w, grad, steps, alpha=100.0, eps=1e-8):
    """w ← w₀ + won·(largest + reward)/(largest·max(sizes + largest, alpha·largest)), won the sum of -g."""
    start, largest = w, np.full_like(w, eps)
    sizes = reward = won = np.zeros_like(w)
    for t in range(steps):
        g = grad(w, t)
        largest = np.maximum(largest, np.abs(g))
        sizes = sizes + np.abs(g)
        reward = np.maximum(reward - g * (w - start), 0.0)
        won = won - g
        w = start + won * (largest + reward) / (largest * np.maximum(sizes + largest, alpha * largest))
        yield w


def backtracking(w, grad, loss, steps, most=15, c=1e-4, decrease=0.8, increase=1.5, largest=1.0, rtol=0.0, atol=0.0):
    """Against the gradient by the first of min(increase·η, largest)·decreaseᵏ that lowers the loss enough."""
    rate = 1.0
    for t in range(steps):
        g, f = grad(w, t), loss(w, t)
        tries = [min(increase * rate, largest) * decrease**k for k in range(most + 1)]
        low = [x for x in tries if loss(w - x * g, t) <= (1 + rtol) * f - c * x * (g @ g) + atol]
        rate = [*low, tries[-1]][0]
        w = w - rate * g
        yield w
