"""Rules of a low rank for one matrix, written as outputs by inputs where the paper does."""

import numpy as np


def dion(grads, basis, momentum=0.95, eps=1e-8, signs=None):
    """B = M + G, P = qr(B·Q), R = Bᵀ·P, M ← B - (1 - μ)·P·Rᵀ, Q ← R/(‖columns‖ + ε); out √(rows/columns)·P·Qᵀ.

    The matrices that go in and come out are inputs by outputs. Of each factorization the columns may be turned around
    by signs.
    """
    q, m = basis, 0.0
    for t, g in enumerate(grads):
        b = m + g.T
        p = np.linalg.qr(b @ q)[0] * (1.0 if signs is None else signs[t])
        r = b.T @ p
        m = b - (1 - momentum) * p @ r.T
        q = r / (np.linalg.norm(r, axis=0) + eps)
        yield np.sqrt(b.shape[0] / b.shape[1]) * (p @ q.T).T


def in_subspace(grads, inner, rank, every, longer=False):
    """P·inner(Pᵀ·G), or inner(G·P)·Pᵀ, with P the first left or right singular vectors of every k-th gradient."""
    sides = []

    def shown():
        for t, g in enumerate(grads):
            on_rows = g.shape[0] == g.shape[1] or (g.shape[0] > g.shape[1]) == longer
            if t % every == 0:
                u, _, vt = np.linalg.svd(g, full_matrices=False)
                side = (u if on_rows else vt.T)[:, :rank]
                if sides:  # of a vector and its opposite the one nearer to the last
                    side = side * np.where(np.sum(side * sides[-1][0], axis=0) < 0, -1.0, 1.0)
            else:
                side = sides[-1][0]
            sides.append((side, on_rows))
            yield side.T @ g if on_rows else g @ side

    for u in inner(shown()):
        side, on_rows = sides[-1]
        yield side @ u if on_rows else u @ side.T


def adam(grads, b1=0.9, b2=0.999, eps=1e-6):
    """m/(√v + ε)·√(1 - b2^t)/(1 - b1^t): ε stands beside the root of what is not corrected."""
    m = v = 0.0
    for t, g in enumerate(grads, start=1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        yield m / (np.sqrt(v) + eps) * np.sqrt(1 - b2**t) / (1 - b1**t)


def apollo(grads, draw, every, b1=0.9, b2=0.999, eps=1e-6, scale=1.0, channel=True, limit=1.01):
    """R = Pᵀ·G of the shorter side, P = draw(t div every); u = m/(√v + ε); S = G·‖u‖/(‖R‖ + 1e-8), of each column or
    of all; l = max(‖S‖/(n + 1e-8), limit)/limit, S ← S/l, n ← ‖S‖; out √scale·S·√(1 - b2^t)/(1 - b1^t).
    """
    m = v = size = 0.0
    for t, g in enumerate(grads):
        wide = g if g.shape[0] <= g.shape[1] else g.T
        r = draw(t // every).T @ wide
        m = b1 * m + (1 - b1) * r
        v = b2 * v + (1 - b2) * r**2
        u = m / (np.sqrt(v) + eps)
        axis = 0 if channel else None
        s = wide * (np.linalg.norm(u, axis=axis) / (np.linalg.norm(r, axis=axis) + 1e-8))
        if t > 0:
            s = s / (max(np.linalg.norm(s) / (size + 1e-8), limit) / limit)
        size = np.linalg.norm(s)
        out = np.sqrt(scale) * s * np.sqrt(1 - b2 ** (t + 1)) / (1 - b1 ** (t + 1))
        yield out if g.shape[0] <= g.shape[1] else out.T
