"""PSGD Kron, in NumPy: a generator of what comes out for the gradients of one array, a matrix or a vector.

`G` gradient, `V` the noise of an update of Q, `t` = 1 at the first update.
"""

import numpy as np

DAMPING = np.sqrt(np.finfo(np.float32).eps)


def norm_bound(s):
    """A lower bound of the largest singular value of a symmetric matrix."""
    largest = np.abs(s).max()
    if largest == 0.0:
        return 0.0
    s = s / largest
    x = s[:, np.argmax((s**2).sum(axis=0))]
    y = s @ x
    return largest * np.linalg.norm(s @ (y / np.linalg.norm(y)))


def advance(qs, g, v, rate):
    """Q ← Q - rate·triu(AAᵀ - BBᵀ)/‖AAᵀ + BBᵀ‖·Q of each axis, A = Q·G, B = Q^-T·V along all axes."""
    a, b = g, v
    for axis, q in enumerate(qs):
        a = along(np.diag(q) if q.ndim == 1 else q, a, axis)
        b = along(np.linalg.inv(np.diag(q) if q.ndim == 1 else q).T, b, axis)
    after = []
    for axis, q in enumerate(qs):
        aa, bb = square(a, axis), square(b, axis)
        if q.ndim == 1:
            aa, bb = np.diag(aa), np.diag(bb)
            after.append(q - rate * (aa - bb) * q / np.abs(aa + bb).max())
        else:
            after.append(q - rate * np.triu(aa - bb) @ q / norm_bound(aa + bb))
    return after


def along(q, x, axis):
    return np.moveaxis(np.tensordot(q, x, (1, axis)), 0, axis)


def square(x, axis):
    flat = np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
    return flat @ flat.T


def balance(qs):
    """Each Q times the geometric mean of all max|Q|, over its own."""
    sizes = [np.abs(q).max() for q in qs]
    mean = np.prod(sizes) ** (1 / len(qs))
    return [q * (mean / size) for q, size in zip(qs, sizes, strict=True)]


def kron(grads, noise, balanced=(), b1=0.9, rate=0.1, clip=1.1, max_dim=8192, least=2):
    """out P·m̂, clipped to a root mean square of at most `clip`; `noise` holds a V for each t, `balanced` is the set of
    t at which the Q are balanced. Arrays of less than `least` dimensions have a diagonal Q.
    """
    m, qs = 0.0, None
    for t, g in enumerate(grads, start=1):
        if qs is None:
            diagonal = [n == 1 or n > max_dim or g.ndim < least for n in g.shape]
            qs = [np.ones(n) if d else np.eye(n) for n, d in zip(g.shape, diagonal, strict=True)]
        m = b1 * m + (1 - b1) * g
        hat = m / (1 - b1**t)
        if np.any(hat):
            qs = balance(qs) if t in balanced else qs
            qs = advance(qs, hat + DAMPING * np.abs(hat).mean() * noise[t - 1], noise[t - 1], rate)
        out = hat
        for axis, q in enumerate(qs):
            out = along(np.diag(q**2) if q.ndim == 1 else q.T @ q, out, axis)
        yield out / max(1.0, np.sqrt(np.mean(out**2)) / clip)
