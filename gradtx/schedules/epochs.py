"""Schedules that count epochs."""

from collections.abc import Callable
from typing import Any

from gradtx.core.count import as_real
from gradtx.schedules.value import Schedule, schedule
from gradtx.values.annotations import Steps
from gradtx.values.errors import Refusal
from gradtx.values.printing import excerpt
from gradtx.values.ranges import require_schedule


@schedule
def per_epoch(schedule: Callable[[Any], Any], steps_per_epoch: Steps, continuous: bool = False):
    r"""A schedule $\eta$ as a function of the epoch, $\eta_{\lfloor\tau/n\rfloor}$; with `continuous`, $\eta_{\tau/n}$.

    **Arguments:** `schedule` $\eta$, whose numbers of steps are then numbers of epochs; `steps_per_epoch` $n \ge 1$.
    With `continuous` $\eta$ is called with a float.

    **Source:** a scheduler of torch that is stepped once per epoch, and a Keras `LearningRateScheduler`; continuous,
    torch's `CosineAnnealingWarmRestarts.step(epoch + i / n)`.

    >>> import gradtx
    >>> halving = gradtx.per_epoch(gradtx.exponential(1.0, 0.25, every=1), steps_per_epoch=100)
    >>> [float(halving(t)) for t in (0, 50, 99, 100)]
    [1.0, 1.0, 1.0, 0.25]
    >>> float(halving.replace(continuous=True)(50))
    0.5
    """
    if not callable(schedule):
        got = f"{type(schedule).__name__} {excerpt(schedule)}"
        raise Refusal(TypeError, f"schedule must be a schedule or a function of the epoch, got {got}")
    if not isinstance(schedule, Schedule):
        require_schedule("schedule", schedule)

    def value(count):
        # The two parts apart: in float32 count / n would miss an epoch's beginning.
        part = (count % steps_per_epoch) / steps_per_epoch
        epoch = count // steps_per_epoch
        return schedule(as_real(epoch) + part if continuous else epoch)

    return value
