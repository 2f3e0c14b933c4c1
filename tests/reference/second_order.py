"""L-BFGS with its matrix written out."""

import numpy as np


def lbfgs(params, grads, memory_size):
    """H·g, with H ← (I - r s yᵀ) H (I - r y sᵀ) + r s sᵀ over the last pairs with sᵀy > 0, from H = (sᵀy/yᵀy) I of the
    newest, r = 1/sᵀy; without pairs g / max(‖g‖, 1).
    """
    pairs, eye = [], np.eye(params.shape[1])
    for t, g in enumerate(grads):
        if t > 0:
            s, y = params[t] - params[t - 1], g - grads[t - 1]
            if s @ y > 1e-14 * np.linalg.norm(s) * np.linalg.norm(y):
                pairs = [*pairs, (s, y)][-memory_size:]
        if not pairs:
            yield g / max(np.linalg.norm(g), 1.0)
            continue
        s, y = pairs[-1]
        inverse = (s @ y) / (y @ y) * eye
        for s, y in pairs:
            rho = 1.0 / (s @ y)
            inverse = (eye - rho * np.outer(s, y)) @ inverse @ (eye - rho * np.outer(y, s)) + rho * np.outer(s, s)
        yield inverse @ g
