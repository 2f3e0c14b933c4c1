"""Shampoo, in NumPy: a generator of what comes out for the gradients of one array, a matrix or a vector.

`G` gradient, `t` = 1 at the first update.
"""

import numpy as np


def inverse_power(a, exponent, eps):
    """(A - min(λ_min, 0) + eps)^-exponent, by the eigenvalues λ of A."""
    values, vectors = np.linalg.eigh(a)
    values = values - min(values[0], 0.0) + eps
    return (vectors * values**-exponent) @ vectors.T


def shampoo(grads, b1=0.9, b2=None, eps=1e-12, every=1, exponent=None, axes=(0, 1)):
    """L ← L + G·Gᵀ, R ← R + Gᵀ·G, or averages with b2; out L̂^-p·m̂·R̂^-p with p = 1/(2·number of axes).

    The powers are made anew at t = 1, 1 + every, 1 + 2·every and so on. A vector is a column with one axis.
    """
    m, factors, roots = 0.0, {}, {}
    for t, g in enumerate(grads, start=1):
        column = g.reshape(len(g), -1)
        axes = axes if g.ndim > 1 else (0,)
        power = 1 / (2 * len(axes)) if exponent is None else exponent
        m = b1 * m + (1 - b1) * column
        out = m / (1 - b1**t)
        for axis in axes:
            square = column @ column.T if axis == 0 else column.T @ column
            before = factors.get(axis, 0.0)
            factors[axis] = before + square if b2 is None else b2 * before + (1 - b2) * square
            if (t - 1) % every == 0:
                weight = 1.0 if b2 is None else 1 - b2**t
                roots[axis] = inverse_power(factors[axis] / weight, power, eps)
            out = roots[axis] @ out if axis == 0 else out @ roots[axis]
        yield out.reshape(g.shape)


def in_blocks(grads, rows, columns, **settings):
    """Shampoo of the blocks between these cuts, each a matrix of its own."""
    whole = [np.zeros_like(g) for g in grads]
    for top, bottom in rows:
        for left, right in columns:
            blocks = [g[top:bottom, left:right] for g in grads]
            for out, own in zip(whole, shampoo(blocks, **settings), strict=True):
                out[top:bottom, left:right] = own
    return whole


def graft(directions, magnitudes):
    """out·‖d‖/(‖out‖ + 1e-16)."""
    for out, d in zip(directions, magnitudes, strict=True):
        yield out * (np.linalg.norm(d) / (np.linalg.norm(out) + 1e-16))
