"""Schedules that rise from a small value."""

import jax.numpy as jnp
from jax.core import Tracer

from gradtx.core.count import as_real
from gradtx.schedules.ramp import mix
from gradtx.schedules.value import schedule
from gradtx.values.annotations import Decay, Natural, Scalar
from gradtx.values.errors import Refusal


@schedule
def warmup(value: Scalar, steps: Natural):
    r"""A linear rise, $\eta_\tau = \eta\,(\tau + 1)/K$, then $\eta$ for ever: no step is lost on a zero rate.

    **Arguments:** `value` $\eta$, finite; `steps` $K \ge 0$. Join it to what follows:
    `warmup(1e-3, 100).then(cosine(1e-3, 900), at=100)`.

    **Source:** Goyal et al., Accurate, Large Minibatch SGD (2017), section 2.2; Optax's `linear_schedule` from zero
    starts one step earlier, at 0.

    >>> import gradtx
    >>> [float(gradtx.warmup(1.0, 4)(t)) for t in (0, 1, 3, 9)]
    [0.25, 0.5, 1.0, 1.0]
    """
    return lambda count: value * jnp.minimum((as_real(count) + 1.0) / jnp.maximum(steps, 1), 1.0)


@schedule
def warmup_memory(decay: Decay, steps: Natural, start: Decay = 0.9):
    r"""The decay of an average whose memory grows to what it is meant to be,
    $\beta_\tau = 2^{-1/h_\tau}$: its half-life, the steps after which half of a gradient is forgotten, rises on a line
    from that of the start, $h_\tau = (1 - t/K)\,h(\beta_0) + (t/K)\,h(\beta)$ with $t = \tau + 1$ and
    $h(\beta) = \log\tfrac12/\log\beta$, then $\beta$ for ever.

    **Arguments:** `decay` $\beta$ and `start` $\beta_0 \in [0, 1)$; `steps` $K \ge 0$.

    **Source:** Pagliardini, Ablin & Grangier, The AdEMAMix Optimizer (2024), section 3, for `ademamix`'s `b3`, from its
    `b1` on. As in the authors' code 1e-8 is added to a decay under the logarithm.

    >>> import gradtx
    >>> [round(float(gradtx.warmup_memory(0.9999, 100)(t)), 4) for t in (0, 9, 98, 99)]
    [0.9909, 0.999, 0.9999, 0.9999]
    """

    def half_life(decay):
        return -jnp.log(2.0) / jnp.log(decay + 1e-8)

    def value(count):
        share = jnp.minimum((as_real(count) + 1.0) / jnp.maximum(steps, 1), 1.0)
        return jnp.where(share < 1.0, 2.0 ** (-1.0 / mix(share, half_life(decay), half_life(start))), decay)

    return value


@schedule
def warmup_stable_decay(peak: Scalar, steps: Natural, warmup_steps: Natural, decay_steps: Natural, floor: Scalar = 0.0):
    r"""A rise to $\eta$ like that of `warmup`, then $\eta$, then a line to the floor in the last $D$ of all $K$ steps.

    $$\eta_\tau = f + (\eta - f)\,(K - \tau)/D \quad\text{for } K - D \le \tau \le K, \text{ then } f.$$

    **Arguments:** `peak` $\eta$ and `floor` $f$, finite; `steps` $K$, `warmup_steps` and `decay_steps` $D \ge 0$, the
    two together at most $K$. For another form of the decay, join the parts yourself:
    `warmup(η, 100).then(η, at=100).then(cosine(η, 200), at=800)`.

    **Raises:** `ValueError` where the warmup and the decay overlap.

    **Source:** Hu et al., MiniCPM (2024), section 4.2, there with other decays; the linear one: Hägele et al. (2024).
    Optax and torch have none.

    >>> import gradtx
    >>> wsd = gradtx.warmup_stable_decay(1.0, steps=20, warmup_steps=4, decay_steps=10)
    >>> [float(wsd(t)) for t in (0, 3, 10, 15, 20, 99)]
    [0.25, 1.0, 1.0, 0.5, 0.0, 0.0]
    """
    known = not any(isinstance(x, Tracer) for x in (steps, warmup_steps, decay_steps))
    if known and warmup_steps + decay_steps > steps:
        got = f"warmup_steps={warmup_steps}, decay_steps={decay_steps} and steps={steps}"
        raise Refusal(ValueError, f"warmup_steps + decay_steps must be at most steps, got {got}")

    def value(count):
        risen = jnp.minimum((as_real(count) + 1.0) / jnp.maximum(warmup_steps, 1), 1.0)
        rest = jnp.clip((steps - count) / jnp.maximum(decay_steps, 1), 0.0, 1.0)
        return risen * mix(rest, peak, floor)

    return value
