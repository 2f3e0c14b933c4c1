"""Schedules that go up and down: once, or again and again."""

import itertools
from typing import Any

import jax.numpy as jnp
from jax.core import Tracer

from gradtx.core.count import as_real
from gradtx.schedules.decay import compound
from gradtx.schedules.ramp import half_wave, mix, share_left
from gradtx.schedules.value import schedule
from gradtx.values.annotations import Decay, Fraction, Natural, NonNegative, Positive, Scalar, Steps
from gradtx.values.errors import Refusal


@schedule
def cosine_restarts(start: Scalar, period: Steps, factor: Steps = 1, decay: Positive = 1.0, floor: Scalar = 0.0):
    r"""Half cosine waves one after the other, each $m$ times as long and with $d$ times the amplitude of the last.

    $$\eta_\tau = f + \tfrac12(\eta_0 - f)\,d^n(1 + \cos(\pi\tau_n/T_n)), \quad T_n = T_0 m^n,$$
    after $n$ restarts and $\tau_n$ steps since the last of them.

    **Arguments:** `start` $\eta_0$ and `floor` $f$, finite; `period` $T_0 \ge 1$ steps; `factor` $m$, a whole number
    $\ge 1$; `decay` $d > 0$.

    **Source:** Loshchilov & Hutter, SGDR (2017), equation 5; torch's `CosineAnnealingWarmRestarts` with `decay=1.0`;
    Keras's `CosineDecayRestarts`, whose `m_mul` is `decay` and whose `alpha` is the floor's share of the start.

    >>> import gradtx
    >>> [round(float(gradtx.cosine_restarts(1.0, 2, factor=2, decay=0.5)(t)), 4) for t in (0, 1, 2, 4, 6)]
    [1.0, 0.5, 0.5, 0.25, 0.25]
    """

    def value(count):
        rest, restarts = locate_in_period(count, period, factor)
        return mix(compound(decay, restarts) * half_wave(rest), start, floor)

    return value


def locate_in_period(count: Any, period: Any, factor: Any) -> tuple[Any, Any]:
    """The share that is left of the period, and how many periods lie before it, each longer by the factor.

    Every number here is a whole one below 2³¹, so that the beginning of a period is exact in an int32.
    """
    whole = jnp.asarray(count // period, jnp.result_type(count, period, factor))
    restarts = jnp.where(factor == 1, whole, 0)
    whole, rest = whole - restarts, share_left(count % period, period)

    # Jumps over 1, 2, 4, 8 and 16 periods: what they take of the first one, and how much longer the next one is.
    jumps: list[tuple[Any, ...]] = [(1, 1, jnp.asarray(factor, whole.dtype), True)]
    for _ in range(4):
        k, taken, longer, possible = jumps[-1]
        possible &= longer <= 46_340  # the last one whose square is an int32
        square = jnp.where(possible, longer * longer, longer)
        jumps.append((2 * k, jnp.where(possible, taken * (1 + longer), taken), square, possible))

    # From the longest on each is made at most once, but for the shortest: its square may be too large.
    for k, taken, longer, possible in [*reversed(jumps), jumps[0]]:
        over = possible & (whole >= taken)
        ahead, part = jnp.divmod(whole - taken, longer)
        rest = jnp.where(over, (as_real(longer - 1 - part) + rest) / as_real(longer), rest)
        whole, restarts = jnp.where(over, ahead, whole), jnp.where(over, restarts + k, restarts)
    return rest, restarts


@schedule
def cyclic(low: Scalar, high: Scalar, half_period: Steps, decay: Positive = 1.0):
    r"""Up from $a$ to $b$ in $h$ steps and down again in $h$, with $d$ times the amplitude in each following cycle.

    $$\eta_\tau = a + (b - a)\,d^n\,(1 - |\tau_n/h - 1|), \quad n = \lfloor\tau/2h\rfloor,\ \tau_n = \tau - 2hn.$$

    **Arguments:** `low` $a$ and `high` $b$, finite; `half_period` $h \ge 1$ steps; `decay` $d > 0$. A momentum that
    cycles against it is `cyclic(0.95, 0.85, h)`.

    **Source:** Smith, Cyclical Learning Rates (2017). Its three policies, and torch's `CyclicLR` with equal halves:
    triangular is the default, triangular2 is `decay=0.5`; the exponential range, whose amplitude decays with each step,
    is `cyclic(0.0, b - a, h) * exponential(1.0, ratio, every=1) + a`.

    >>> import gradtx
    >>> [float(gradtx.cyclic(0.0, 1.0, 2, decay=0.5)(t)) for t in range(7)]
    [0.0, 0.5, 1.0, 0.5, 0.0, 0.25, 0.5]
    """

    def value(count):
        half = count // half_period  # twice a period of 2³⁰ would be no int32
        gone = count % half_period
        height = jnp.where(half % 2 == 0, gone, half_period - gone) / half_period
        return mix(compound(decay, half // 2) * height, high, low)

    return value


@schedule
def one_cycle(
    peak: Scalar,
    steps: Natural,
    rise: Fraction = 0.45,
    fall: Fraction = 0.45,
    start_share: NonNegative = 0.1,
    end_share: NonNegative = 1e-4,
    cosine: bool = False,
):
    r"""Up to the peak, down to where it started, and in the rest of the steps down to almost nothing.

    $$s\,\eta \to \eta \text{ at } rK, \quad \to s\,\eta \text{ at } (r + f)K, \quad \to e\,\eta \text{ at } K,$$
    then $e\,\eta$ for ever, in straight lines or, with `cosine`, in half cosine waves. Where $rK$ is not a whole
    number, the peak lies between two steps.

    **Arguments:** `peak` $\eta$, finite; `steps` $K \ge 0$; `rise` $r$ and `fall` $f$, in [0, 1], shares of the steps,
    together at most 1; `start_share` $s$ and `end_share` $e \ge 0$, shares of the peak.

    **Raises:** `ValueError` where the rise and the fall are longer than all steps.

    **Source:** Smith & Topin, Super-Convergence (2017); the defaults are Géron's, Hands-On Machine Learning, chapter
    11. Optax's `linear_onecycle_schedule` is `start_share=1 / div_factor`, `end_share=start_share / final_div_factor`,
    `rise=pct_start`, `fall=pct_final - pct_start`, where these fall on whole steps. torch's
    `OneCycleLR(peak, T, three_phase=True)` is the same with `cosine=True`, `steps=T - 1` and `rise` and `fall` of
    `(pct_start * T - 1) / (T - 1)`. The two-phase form is the default of torch and fastai, and Optax's
    `cosine_onecycle_schedule`. Here it is two schedules joined:
    `cosine(η / 25, n, floor=η).then(cosine(η, K - n, floor=η / 25e4), at=n)`.

    >>> import gradtx
    >>> [round(float(gradtx.one_cycle(1.0, 100)(t)), 5) for t in (0, 45, 90, 95, 100, 999)]
    [0.1, 1.0, 0.1, 0.05005, 0.0001, 0.0001]
    """
    joints, foot = joints_of(steps, rise, fall), start_share * peak
    return lambda count: interpolate(count, joints, [foot, peak, foot, end_share * peak], cosine)


@schedule
def one_cycle_momentum(
    steps: Natural,
    high: Decay = 0.95,
    low: Decay = 0.85,
    rise: Fraction = 0.45,
    fall: Fraction = 0.45,
    cosine: bool = False,
):
    r"""A momentum opposite to `one_cycle`: from $\mu$ down to $\mu'$ at $rK$, up to $\mu$ at $(r + f)K$, then $\mu$.

    **Arguments:** `steps`, `rise`, `fall` and `cosine` as in `one_cycle`; `high` $\mu$ and `low` $\mu'$, in [0, 1).
    It is for `decay` of `scale_by_momentum`, `momentum` of `sgd` and `b1` of Adam.

    **Raises:** `ValueError` where the rise and the fall are longer than all steps.

    **Source:** Smith, A Disciplined Approach (2018), section 4.3; torch's `OneCycleLR` as under `one_cycle`, with 0.95
    and 0.85 as its defaults too.

    >>> import gradtx
    >>> [round(float(gradtx.one_cycle_momentum(100)(t)), 3) for t in (0, 45, 90, 100)]
    [0.95, 0.85, 0.95, 0.95]
    """
    joints = joints_of(steps, rise, fall)
    return lambda count: interpolate(count, joints, [high, low, high, high], cosine)


def joints_of(steps: Any, rise: Any, fall: Any) -> list[Any]:
    """Where the three phases of one cycle begin and end."""
    if not isinstance(rise, Tracer) and not isinstance(fall, Tracer) and rise + fall > 1:
        raise Refusal(ValueError, f"rise + fall must be at most 1, the whole of the steps, got {rise} + {fall}")
    return [0, rise * steps, (rise + fall) * steps, steps]


def interpolate(count: Any, joints: list[Any], values: list[Any], cosine: bool) -> Any:
    """Through the values, each reached at its joint, and exactly there."""
    count = as_real(count)
    bend = half_wave if cosine else lambda share: share
    now = values[-1]
    pieces = zip(itertools.pairwise(joints), itertools.pairwise(values), strict=True)
    for (begin, end), (before, after) in reversed(list(pieces)):
        length = jnp.where(end > begin, end - begin, 1)
        rest, gone = (jnp.clip(x / length, 0.0, 1.0) for x in (end - count, count - begin))
        now = jnp.where(count < end, bend(rest) * before + bend(gone) * after, now)
    return now
