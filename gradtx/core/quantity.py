"""What the fields of a state say of their quantities."""

import functools
from typing import Annotated, Any, NamedTuple, get_type_hints

import optax


class Behaviour(NamedTuple):
    """How a quantity behaves, for what holds it in few bytes."""

    signed: bool = True
    slow: bool = False  # whether it changes by so little at each update that rounded to the nearest it stands still
    anchor: bool = False  # whether small differences from it, or small steps of it, are what counts


Squares = Annotated[Any, Behaviour(signed=False, slow=True)]  # an average or a sum of squares
Slow = Annotated[Any, Behaviour(slow=True)]  # another slow average
Anchor = Annotated[Any, Behaviour(anchor=True)]  # such as parameters as they once were, or as they are elsewhere
# In the states of Optax's rules: squares, and anchors.
OF_OPTAX = ("nu", "nu_max", "sum_of_squares", "e_g", "e_x", "v", "v_row", "v_col")
ANCHORS_OF_OPTAX = ("init_params", "params0", "x0", "init_particles", "z", "cache", "params", "updates")


@functools.cache
def behaviour_of(kind: type, name: str) -> Behaviour:
    """What a state of this kind says of its field; where it says nothing, that it has a sign and is quick."""
    if kind.__module__.partition(".")[0] == optax.__name__:
        squares = name in OF_OPTAX
        return Behaviour(signed=not squares, slow=squares, anchor=name in ANCHORS_OF_OPTAX)
    try:
        hint = get_type_hints(kind, include_extras=True)[name]
    except (NameError, TypeError, KeyError):  # annotations that only a type checker can read
        return Behaviour()
    return next((x for x in getattr(hint, "__metadata__", ()) if isinstance(x, Behaviour)), Behaviour())
