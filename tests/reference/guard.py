"""Which measurements are spikes, from the list of the accepted ones at once, in NumPy."""

import numpy as np


def spikes(values, threshold, decay, warmup_steps):
    """For each value: whether it is skipped, and the mean and the deviation that it was held against."""
    accepted = []
    for x in values:
        n = len(accepted)
        weights = decay ** np.arange(n)[::-1] if n else np.ones(0)
        mean = np.average(accepted, weights=weights) if n else 0.0
        sigma = np.inf
        if n > 1 and decay > 0:
            squares = np.sum(weights * (np.array(accepted) - mean) ** 2)
            sigma = np.sqrt(squares / (weights.sum() - np.sum(weights**2) / weights.sum()))
        late = n >= max(warmup_steps, 2)
        skipped = not np.isfinite(x) or (late and x > mean + threshold * sigma)
        if not skipped:
            accepted.append(x)
        yield skipped, mean, sigma
