"""Where Optax's function of the same name has the parts of an optimizer: some without a state stand beside them."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from gradtx.optimizers.adadelta import adadelta
from gradtx.optimizers.adafactor import adafactor
from gradtx.optimizers.adopt import adopt
from gradtx.optimizers.belief import acprop
from gradtx.optimizers.cocob import cocob
from gradtx.optimizers.distance_over_gradients import dog, dowg
from gradtx.optimizers.layerwise_rates import lars
from gradtx.optimizers.madgrad import madgrad
from gradtx.optimizers.polyak import polyak
from gradtx.optimizers.rmsprop import rmsprop
from gradtx.optimizers.sgd import sgd


class UnderMask(NamedTuple):
    """A part around which Optax always has a mask."""

    place: int


class Negated(NamedTuple):
    """A part in whose arrays Optax has the other sign."""

    place: int


# A part by its number here, as it is or not, None for one without a state, or several for a chain of them.
Slot = int | UnderMask | Negated | None | tuple[Any, ...]
Arrangement = tuple[Slot, ...]


def arrange_adafactor(tx: Any) -> Arrangement:
    """The sign is turned at the end, here ahead of the decay and behind it."""
    n = 3 + tx.relative
    average: Arrangement = () if tx.momentum is None else (Negated(n),)
    n += len(average)
    end: Arrangement = (None,) if tx.weight_decay is None else (n + 1, n + 2)
    return (*range(n - len(average)), *average, *end)


def arrange_adopt(tx: Any) -> Arrangement | None:
    is_zero = not callable(tx.weight_decay) and isinstance(tx.weight_decay, int | float) and tx.weight_decay == 0
    return (0, 2) if is_zero and tx.mask is None else None  # there without a decay


def always_as(*places: Slot) -> Callable[[Any], Arrangement]:
    return lambda tx: places


ARRANGED: dict[Any, Callable[[Any], Arrangement | None]] = {
    sgd: lambda tx: (None, 0) if tx.momentum is None else None,
    rmsprop: lambda tx: (0, 1, None) if tx.momentum is None else None,
    adadelta: always_as(None, 0, 1),
    adafactor: arrange_adafactor,
    adopt: arrange_adopt,
    acprop: always_as(0, None, 1),
    lars: always_as(UnderMask(0), UnderMask(1), 2, 3),
    dog: always_as(None, 0, 1),
    dowg: always_as(None, 0, 1),
    polyak: always_as((None, 1), 0),
    madgrad: always_as(None, 0),
    cocob: always_as(None, None, 0),
}


def arrangement_of(tx: Any) -> Arrangement | None:
    """None where Optax has the same parts in the same order."""
    arrange = ARRANGED.get(getattr(tx, "recipe", None))
    return arrange(tx) if arrange else None


def flatten_places(arrangement: Arrangement) -> Iterator[int | Negated | None]:
    for place in arrangement:
        if isinstance(place, UnderMask):
            yield place.place
        elif isinstance(place, Negated):
            yield place
        elif isinstance(place, tuple):
            yield from flatten_places(place)
        else:
            yield place
