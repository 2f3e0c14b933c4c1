"""Rules for matrices of inputs by outputs. Each is a generator: gradients go in, what it puts out comes out."""

import numpy as np


def newton_schulz(x, coefficients):
    """The polynomials as + bs³ + cs⁵ of the singular values s, by the values themselves."""
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    for a, b, c in coefficients:
        s = a * s + b * s**3 + c * s**5
    return (u * s) @ vt


def orthogonalized(x, coefficients, eps=1e-7):
    return newton_schulz(x / (np.linalg.norm(x) + eps), coefficients)


def muon(grads, coefficients, factor, momentum=0.95, nesterov=True, eps=1e-7):
    """m ← μm + (1 - μ)g, u = μm + (1 - μ)g or m; out f·NS(u/(‖u‖ + eps))."""
    m = 0.0
    for g in grads:
        m = momentum * m + (1 - momentum) * g
        u = momentum * m + (1 - momentum) * g if nesterov else m
        o = orthogonalized(u, coefficients, eps)
        yield factor(u, o) * o


def rows(grads, decay=0.95, eps=1e-10):
    """v_j ← decay·v_j + (1 - decay)·mean over the inputs of g_ij²; u = g/(√v + eps), as large as g as a whole."""
    v = 0.0
    for g in grads:
        v = decay * v + (1 - decay) * np.mean(g**2, axis=0)
        u = g / (np.sqrt(v) + eps)
        yield u * np.linalg.norm(g) / (np.linalg.norm(u) + eps)
