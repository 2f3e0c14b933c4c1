"""SOAP, and any rule in the eigenbasis, for one matrix. As in `blocks`, gradients go in, what is put out comes out."""

import numpy as np


def descending(s):
    """Eigenvectors of a symmetric matrix as columns, the largest eigenvalue first."""
    values, vectors = np.linalg.eigh(s)
    return vectors[:, np.argsort(-values)]


def power_step(s, q):
    """The order of the columns by diag(qᵀ s q), and the basis behind one power step."""
    order = np.argsort(-np.diag(q.T @ s @ q), kind="stable")
    return order, np.linalg.qr(s @ q[:, order])[0]


def soap(grads, b1=0.95, b2=0.95, eps=1e-8, every=10, max_dim=10000):
    """m in the original basis, v in that of L and R: out Q_L (Q_Lᵀ m Q_R / (√v + eps)) Q_Rᵀ √(1 - b2^k)/(1 - b1^k)."""
    for k, g in enumerate(grads):
        n_in, n_out = g.shape
        if k == 0:
            left, right = (1 - b2) * g @ g.T, (1 - b2) * g.T @ g
            q_left = descending(left) if n_in <= max_dim else np.eye(n_in)
            q_right = descending(right) if n_out <= max_dim else np.eye(n_out)
            m, v = np.zeros_like(g), np.zeros_like(g)
            yield np.zeros_like(g)
            continue
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * (q_left.T @ g @ q_right) ** 2
        u = q_left @ ((q_left.T @ m @ q_right) / (np.sqrt(v) + eps)) @ q_right.T
        yield u * np.sqrt(1 - b2**k) / (1 - b1**k)
        left = b2 * left + (1 - b2) * g @ g.T
        right = b2 * right + (1 - b2) * g.T @ g
        if k % every == 0:
            if n_in <= max_dim:
                order, q_left = power_step(left, q_left)
                v = v[order]
            if n_out <= max_dim:
                order, q_right = power_step(right, q_right)
                v = v[:, order]
