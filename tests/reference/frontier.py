"""Further rules, on one array: the gradients go in one by one, what a block puts out comes out, or the parameters.

`g` gradient, `w` parameter, `t` = 1 at the first update.
"""

import numpy as np


def memory(decay, steps, start=0.9):
    """The decay at each step whose half-life is on a line from the start's; t counts from 1."""
    half_life = lambda b: np.log(0.5) / np.log(b + 1e-8)  # noqa: E731
    for t in range(1, steps + 1):
        share = t / steps
        yield decay if t == steps else 0.5 ** (1 / ((1 - share) * half_life(start) + share * half_life(decay)))


def ademamix(grads, b1=0.9, b2=0.999, b3=0.9999, alpha=5.0, eps=1e-8, eps_root=0.0):
    """m and n average g with b1 and b3, v averages g²; out (m̂ + alpha·n) / (√(v̂ + eps_root) + eps). One b3 and alpha,
    or one for each step.
    """
    m = n = v = 0.0
    steps = len(grads)
    for t, (g, b, a) in enumerate(
        zip(grads, np.broadcast_to(b3, steps), np.broadcast_to(alpha, steps), strict=True), 1
    ):
        m, n, v = b1 * m + (1 - b1) * g, b * n + (1 - b) * g, b2 * v + (1 - b2) * g**2
        yield (m / (1 - b1**t) + a * n) / (np.sqrt(v / (1 - b2**t) + eps_root) + eps)


def simplified_ademamix(grads, b1=0.99, b2=0.95, alpha=0.0, eps=1e-8, eps_root=0.0):
    """m ← b1·m + g; out (m + alpha·g) / (√(v̂ + eps_root) + eps)."""
    m = v = 0.0
    for t, g in enumerate(grads, 1):
        m, v = b1 * m + g, b2 * v + (1 - b2) * g**2
        yield (m + alpha * g) / (np.sqrt(v / (1 - b2**t) + eps_root) + eps)


def adopt(grads, b1=0.9, b2=0.9999, eps=1e-6, clip=True, nesterov=False):
    """The first g makes v alone. Then u = g / max(√v, eps) within ±(t - 1)^¼, m averages u, and v follows."""
    v, m = grads[0] ** 2, np.zeros_like(grads[0])
    yield m
    for t, g in enumerate(grads[1:], 2):
        u = g / np.maximum(np.sqrt(v), eps)
        if clip:
            u = np.clip(u, -((t - 1) ** 0.25), (t - 1) ** 0.25)
        m, v = b1 * m + (1 - b1) * u, b2 * v + (1 - b2) * g**2
        yield b1 * m + (1 - b1) * u if nesterov else m


def ano(grads, b1=0.92, b2=0.99, eps=1e-8):
    """v ← b2·v + (1 - b2)·sign(g² - v)·g²; out |g|·sign(m) / (√v̂ + eps)."""
    m = v = 0.0
    for t, g in enumerate(grads, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * np.sign(g**2 - v) * g**2
        yield np.abs(g) * np.sign(m) / (np.sqrt(np.maximum(v, 0.0) / (1 - b2**t)) + eps)


def spam(grads, b1=0.9, b2=0.999, eps=1e-6, threshold=5000.0, every=500, warmup=150, grace=20):
    """Element by element; before each update that `every` divides, the moments are forgotten."""
    m, v = np.zeros(grads[0].shape), np.zeros(grads[0].shape)
    for t, g in enumerate(grads, 1):
        since, now, factor = t % every, g.copy(), 1.0
        if since == 0:
            m, v = np.zeros(g.shape), np.zeros(g.shape)
        for i in np.ndindex(g.shape):
            if since >= grace and v[i] > 0 and g[i] ** 2 > threshold * v[i]:
                now[i] = np.sign(g[i]) * np.sqrt(threshold * v[i])
        m, v = b1 * m + (1 - b1) * now, b2 * v + (1 - b2) * now**2
        if t >= every and since < warmup:
            factor = 1 - 0.99 * (1 + np.cos(np.pi * since / warmup)) / 2
        yield factor * np.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(v) + eps)


def rprop(grads, initial, shrink=0.5, grow=1.2, min_step=1e-6, max_step=50.0):
    """Element by element, as a program for one number would be."""
    size, before = np.full(grads[0].shape, initial), np.zeros(grads[0].shape)
    for g in grads:
        out = np.zeros(g.shape)
        for i in np.ndindex(g.shape):
            agree, now = g[i] * before[i], g[i]
            if agree > 0:
                size[i] *= grow
            elif agree < 0:
                size[i], now = size[i] * shrink, 0.0
            size[i] = min(max(size[i], min_step), max_step)
            out[i], before[i] = size[i] * np.sign(now), now
        yield out


def sm3(grads, b1=0.9, eps=1e-8):
    """One sum for each place along each axis, element by element; for one axis or none, one for each element."""
    shape, m, several = grads[0].shape, 0.0, grads[0].ndim > 1
    kept, total = [np.zeros(n) for n in shape], np.zeros(shape)
    for g in grads:
        nu = total + g**2
        if several:
            for i in np.ndindex(*shape):
                nu[i] = g[i] ** 2 + min(a[k] for a, k in zip(kept, i, strict=True))
            kept = [np.array([np.take(nu, k, axis).max() for k in range(n)]) for axis, n in enumerate(shape)]
        else:
            total = nu
        u = np.where(nu > 0, g / np.sqrt(np.where(nu > 0, nu + eps, 1.0)), 0.0)
        m = b1 * m + (1 - b1) * u
        yield m


def madgrad(w, grads, rate=0.01, momentum=0.9, eps=1e-6):
    """The parameters: l = (rate + eps)·√t, n += l·g², s += l·g, z = w₀ - s/(∛n + eps), w ← momentum·w +
    (1 - momentum)·z.
    """
    start, nu, s = w, 0.0, 0.0
    for t, g in enumerate(grads, 1):
        weight = (rate + eps) * np.sqrt(t)
        nu, s = nu + weight * g**2, s + weight * g
        w = momentum * w + (1 - momentum) * (start - s / (np.cbrt(nu) + eps))
        yield w


def ftrl(w, grads, rate, power=0.5, initial=0.1, l1=0.0, l2=0.0, shrinkage=0.0, beta=0.0):
    """The parameters, by algorithm 1 of McMahan (2013) with Keras' power, initial value and penalty in the gradient."""
    z, n = np.zeros_like(w), np.full_like(w, initial)
    for g in grads:
        sigma = ((n + g**2) ** power - n**power) / rate
        z, n = z + (g + 2 * shrinkage * w) - sigma * w, n + g**2
        w = np.where(np.abs(z) <= l1, 0.0, -(z - np.sign(z) * l1) / ((beta + n**power) / rate + 2 * l2))
        yield w


def asgd(w, grads, rate, decay=1e-4, power=0.75, start=1_000_000):
    """The parameters and the mean of them, as a loop that ends each step with the next rate and weight."""
    now, mean, weight = rate, w, 1.0
    for step, g in enumerate(grads, 1):
        w = w * (1 - decay * now) - now * g
        mean = mean + weight * (w - mean)
        now, weight = rate / (1 + decay * rate * step) ** power, 1 / max(1, step - start)
        yield w, mean


def sophia(grads, estimates, b1=0.965, b2=0.99, gamma=0.01, eps=1e-8, clip=1.0, every=10, debias=True, late=False):
    """h ahead of the step at every k-th, m̂ / max(gamma·h, eps) within ±clip; `late`: h behind it, as in Optax."""
    m, h = 0.0, np.zeros_like(grads[0])
    for t, (g, estimate) in enumerate(zip(grads, estimates, strict=True), 1):
        before = h
        if (t - 1) % every == 0:
            h = b2 * h + (1 - b2) * estimate
        m = b1 * m + (1 - b1) * g
        m_hat = m / (1 - b1**t) if debias else m
        yield np.clip(m_hat / np.maximum(gamma * (before if late else h), eps), -clip, clip)
