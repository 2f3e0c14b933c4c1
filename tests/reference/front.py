"""What stands in front of an optimizer, in NumPy. Of the clipped: the norms that come out, from those that come in."""

import numpy as np


def mars(grads, gamma, b1, max_norm):
    """c = g + gamma·b1/(1 - b1)·(g - g₋), to a norm of at most max_norm."""
    before = 0.0
    for g in grads:
        c = g + gamma * b1 / (1 - b1) * (g - before)
        before = g
        yield c / max(1.0, np.sqrt(np.sum(c**2)) / max_norm)


def zclip(norms, threshold, decay, warmup_steps, max_norm, eps=1e-6):
    """As the authors have it: the first norms in a list, then two averages."""
    first, mean, variance = [], 0.0, 0.0
    for n in norms:
        kept = n
        if len(first) < warmup_steps:
            first.append(n)
            mean, variance = np.mean(first), np.var(first)
        else:
            score = (n - mean) / (np.sqrt(variance) + eps)
            if score > threshold:
                kept = mean + threshold * np.sqrt(variance) / (score / threshold)
            mean = decay * mean + (1 - decay) * kept
            variance = decay * variance + (1 - decay) * (kept - mean) ** 2
        limit = min(kept, max_norm)
        yield n * limit / (n + eps) if n > limit else n


def percentile_clip(norms, percentile, window):
    """At most the p-th percentile of the last norms; the first stands for all before it."""
    held = [norms[0]] * window
    for n in norms:
        held = [*held[1:], n]
        yield min(n, sorted(held)[min(percentile * window // 100, window - 1)])


def adagc(norms, max_ratio, decay, max_norm, warmup_steps):
    """The norms of two arrays, one row each step."""
    average = None
    for t, pair in enumerate(norms):
        if t < warmup_steps:
            out = pair * min(1.0, max_norm / np.sqrt(np.sum(pair**2)))
            average = out if average is None else np.minimum(average, out)
        else:
            out = np.minimum(pair, max_ratio * average)
            average = decay * average + (1 - decay) * out
        yield out
