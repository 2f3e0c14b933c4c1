"""Quantities of a state held in few bytes, whatever transformation they belong to."""

from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gradtx.core.check import is_none
from gradtx.core.count import ScheduledState, increment
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow, keep_promises
from gradtx.core.held import Held, decode_all, is_held
from gradtx.core.keys import Seed, make_key
from gradtx.core.lift import PerArray
from gradtx.core.paths import list_some
from gradtx.core.placement import stay_like
from gradtx.core.quantity import behaviour_of
from gradtx.core.rule import Keys, Part, Rule
from gradtx.core.transformation import Transformation, advance, start
from gradtx.core.tree import widen
from gradtx.core.walk import is_namedtuple, state_at, walk, with_state_at
from gradtx.precision.blocks import Cast, numbers_of
from gradtx.precision.codec import Codec, as_codec, coder_of, encode_as, require_floats, resolve, rounds_at_random
from gradtx.precision.rounding import keys_for
from gradtx.selectors import Where
from gradtx.values.annotations import Check
from gradtx.values.errors import Refusal
from gradtx.values.value import build


class HoldState(NamedTuple):
    """The state of `hold` where something is rounded at random; elsewhere it is that of the transformation.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.hold(gradtx.scale_by_adam(), nu=gradtx.bfloat16)
    >>> gradtx.find(tx.init(jnp.zeros(2)), "nu")
    Array([0, 0], dtype=bfloat16)
    """

    count: Any  # of updates, with which the key changes
    inner_state: Any


@transformation
def hold(
    tx: optax.GradientTransformation,
    *,
    where: Where | None = None,
    key: Seed = 0,
    **quantities: Annotated[Any, Check(as_codec)],
):
    r"""The transformation, $T(u)$, with quantities of its state in few bytes: `hold(adamw(1e-3), mu=blocks(8),
    nu=blocks(8))` has 2.03 bytes per parameter in the place of 8.

    Quantities are named as the fields of a state, and each has a codec, wherever in the transformation it stands. A
    formula computes with what the codes stand for, in float32, and its update is made of the new quantity before that
    is rounded. Codes are read and written in the pass of the formula. Where it makes each element of those in its
    place, and there is one device, that goes through a large array in chunks, so that no float32 copy of a quantity
    exists; on several devices, and for formulas with norms in them, the compiler decides, array by array. What is no
    formula for one array (L-BFGS, a line search, `accumulate`, matrix rules, Optax's) finds its quantities decoded.

    What the codec leaves open depends on the quantity: averages and sums of squares have no sign and are rounded at
    random, since to the nearest code they stand still; slow averages, as of `average_parameters`, are rounded at
    random; others keep their sign and are rounded to the nearest code. For momentum above 0.99 say
    `blocks(8, stochastic=True)`. Random rounding is the same however arrays lie on devices; under `vmap`, all copies
    round alike unless their keys differ.

    **Arguments:** `tx`, an Optax transformation too; `where`, a selector of the arrays to hold so, others stay as they
    are; `key`, a seed or a key of JAX's; by name the quantities, each with a codec, or with its factory or a dtype for
    one with its defaults. A point from which small differences count, such as `init_params` of `dog` and `z` of
    `schedule_free`, can't be held so.

    **State:** that of `tx`, with codes of 16 bits as arrays of their dtype and others as `codes` and `scale`; where
    something is rounded at random it stands in a `HoldState`. Arrays below the codec's `min_size` stay as they are.

    **Raises:** `TypeError` for what is no codec; (`init`) `ValueError` for a quantity that the state lacks, with a list
    of those that it has, and for one that can't be held, `TypeError` for a count; (`update`) `ValueError` for a state
    in other codecs.

    >>> import gradtx as gx, jax.numpy as jnp
    >>> tx = gx.hold(gx.adam(1e-3), mu=gx.blocks(8), nu=gx.blocks(8))
    >>> tx
    hold(tx=adam(learning_rate=0.001), mu=blocks(), nu=blocks())
    >>> w = jnp.zeros((64, 64))
    >>> gx.find(tx.init(w), "nu")
    Held(float32[64, 64] in blocks(signed=False, stochastic=True))
    """
    if not quantities:
        remedy = "name some of the state's, as in hold(tx, mu=bfloat16)"
        raise Refusal(ValueError, f"it needs a quantity to hold; {remedy}")
    return Holding.of(tx=tx, quantities=quantities, where=where, key=key)


class HeldPlace(NamedTuple):
    """A quantity of a part."""

    keys: Keys
    codec: Codec  # with nothing left open
    in_pass: bool  # whether its rows are decoded by the formula's own pass


class Holding(Rule):
    """The rule of `hold`."""

    tx: Any
    quantities: dict[str, Codec]
    where: Any
    key: Any

    @property
    def parts(self) -> dict[str, Part]:
        return {"tx": Part(self.tx, ("inner_state",) if self.counts_steps else ())}

    @property
    def counts_steps(self) -> bool:
        """Whether something may be rounded at random."""
        return any(rounds_at_random(codec) is not False for codec in self.quantities.values())

    @property
    def counts(self) -> tuple[Keys, ...]:
        return (("count",),) if self.counts_steps else ()

    def init(self, params: Any) -> Any:
        state = start(self.tx, params)
        for place in self.places(state):
            state = with_state_at(state, place.keys, self.encode(state_at(state, place.keys), place, params))
        return HoldState(jnp.zeros([], jnp.int32), state) if self.counts_steps else state

    @property
    def advance_if(self) -> Any:
        return isinstance(self.tx, Transformation) and build(self.tx).advance_if and self.advance_where

    def advance(self, flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        return self.advance_where(flow, state, None, extra)

    def advance_where(self, flow: Flow, state: Any, ok: Any, extra: dict[str, Any]) -> Any:
        before = state.inner_state if self.counts_steps else state
        places = self.places(before)
        count = state.count if self.counts_steps else None
        armed = {place.keys: self.arm(state_at(before, place.keys), place, count) for place in places}
        ready = before
        for place in places:
            own = armed[place.keys] if place.in_pass else decode_all(armed[place.keys])
            ready = with_state_at(ready, place.keys, own)
        after = advance(self.tx, flow, ready, extra, "tx", ok)

        def filled() -> Any:
            made = keep_promises(after)
            for place in places:
                stored, new = state_at(before, place.keys), state_at(made, place.keys)
                made = with_state_at(made, place.keys, put_away(new, armed[place.keys], stored, place))
            return made

        inside = flow.promise(filled)
        if not self.counts_steps:
            return inside
        count = increment(state.count)
        return HoldState(count if ok is None else jnp.where(ok, count, state.count), inside)

    # ---- where the quantities stand ----

    def places(self, state: Any) -> list[HeldPlace]:
        """Each quantity of each part, in the order of the parts."""
        found: dict[Keys, HeldPlace] = {}
        seen: list[str] = []
        for keys, own, in_pass in states_in(self.tx, state):
            fields = [name for name in own._fields if name != "inner_state"]
            seen += fields
            for name, codec in self.quantities.items():
                if name in fields:
                    kind = behaviour_of(type(own), name)
                    if kind.anchor and getattr(own, name) is not None:
                        problem = "small differences from it, or small steps of it, are what counts, and would be lost"
                        raise Refusal(ValueError, f"{name} can't be rounded: {problem}; leave {name} as it is")
                    known = resolve(codec, signed=kind.signed, stochastic=kind.slow)
                    # A composition and what it is made of have one state, of which the latter knows more.
                    found[*keys, name] = HeldPlace((*keys, name), known, in_pass)
        if lacking := self.quantities.keys() - {keys[-1] for keys in found}:
            has = list_some(name for name in dict.fromkeys(seen) if name != "count")
            raise Refusal(ValueError, f"the state has no {list_some(sorted(lacking))}; it has {has or 'none'}")
        return list(found.values())

    def encode(self, tree: Any, place: HeldPlace, params: Any) -> Any:
        """A fresh quantity in its codes."""
        leaves, structure = jax.tree.flatten(tree, is_leaf=is_none)
        whole = jax.tree.leaves(params, is_leaf=is_none)  # what selectors are asked about, where it is like them
        like = params if len(whole) == len(leaves) else tree
        chosen = [True] * len(leaves) if self.where is None else self.where.chosen(like)
        for i, x in enumerate(leaves):
            if x is None:
                continue
            require_floats(x, str(place.keys[-1]))
            if jax.typeof(x).memory_space is jax.memory.Space.Host:
                remedy = "offload goes around: offload(hold(tx, …))"
                raise Refusal(ValueError, f"{place.keys[-1]} is in the host's memory; {remedy}")
            coder = coder_of(place.codec)
            fits = isinstance(coder, Cast) or (x.ndim and x.size)
            if chosen[i] and fits and x.size >= coder.min_size and x.dtype.itemsize > 2:
                leaves[i] = as_stored(encode_as(place.codec, x, None), place)
        return structure.unflatten(leaves)

    def arm(self, tree: Any, place: HeldPlace, count: Any) -> Any:
        """A stored quantity ready for an update, each array with what it stands for and a key."""
        leaves, structure = jax.tree.flatten(tree, is_leaf=lambda x: x is None or is_held(x))
        random = rounds_at_random(place.codec)
        keys = keys_for(make_key(self.key), count, len(leaves), str(place.keys[-1])) if random else None
        for i, x in enumerate(leaves):
            if is_stored(x, place):
                leaves[i] = with_meaning(x, place.codec).with_key(None if keys is None else keys[i])
        return structure.unflatten(leaves)


def states_in(tx: Any, state: Any) -> Iterator[tuple[Keys, Any, bool]]:
    """The states of all parts with the ways to them, and whether each is that of a formula for one array."""
    for node in walk(tx, state):
        own, keys, scheduled = node.state, node.keys, False
        while isinstance(own, ScheduledState):
            own, keys, scheduled = own.inner_state, (*keys, "inner_state"), True
        if not isinstance(node.tx, Transformation):
            yield from ((path, x, False) for path, x in named_states(own, keys))
        elif is_namedtuple(own):
            yield keys, own, type(node.rule) is PerArray and not scheduled


def named_states(state: Any, keys: Keys) -> Iterator[tuple[Keys, Any]]:
    """The states inside of one that is not gradtx's; a named tuple may also be what the parameters lie in."""
    if is_namedtuple(state) and type(state).__name__.endswith("State"):
        yield keys, state
        inside: Any = state._asdict().items()
    else:
        inside = state.items() if isinstance(state, dict) else enumerate(state) if type(state) is tuple else ()
    for name, x in inside:
        yield from named_states(x, (*keys, name))


# ---- from what is stored to what is at work, and back ----


def is_stored(x: Any, place: HeldPlace) -> bool:
    """Whether it is in codes: others may be too small for them, or not be meant."""
    coder = coder_of(place.codec)
    return is_held(x) or (place.in_pass and isinstance(coder, Cast) and getattr(x, "dtype", None) == coder.dtype)


def with_meaning(x: Any, codec: Codec) -> Held:
    """What is stored, with what it stands for: an array of 16 bits for one of real numbers."""
    if not isinstance(x, Held):
        words = jax.lax.bitcast_convert_type(x, jnp.uint16)
        return Held(words, None, None, codec, x.shape, jnp.dtype(jnp.float32))
    if x.codec != codec:
        remedy = "from_flat moves a state from one codec to another"
        raise Refusal(ValueError, f"the state holds codes of {x.codec!r}, expected those of {codec!r}; {remedy}")
    return x


def as_stored(held: Held, place: HeldPlace) -> Any:
    """In 16 bits the array itself, where a formula finds it: others have to find the dtype that it had."""
    coder: Any = coder_of(held.codec)
    is_plain = place.in_pass and isinstance(coder, Cast) and jnp.issubdtype(held.dtype, jnp.floating)
    return numbers_of(held.codes, coder.dtype) if is_plain else held.with_key(None)


def put_away(new: Any, armed: Any, before: Any, place: HeldPlace) -> Any:
    """What is next in the place of a quantity, stored. What did not change keeps its codes: those of a block whose
    largest element is negative would change with it, since there is no -1.
    """

    def one(x: Any, held: Any, stored: Any) -> Any:
        if not is_held(held):
            return x
        if not is_held(x):
            after = held.hold(widen(x))
            same = jnp.all(x == held.decode())
            x = jax.tree.map(lambda y, before: jnp.where(same, before, y), after, held)
        x = as_stored(x, place)
        return x if is_held(x) or is_held(stored) else stay_like(x, stored)  # its words need not lie as it does

    return jax.tree.map(one, new, armed, before, is_leaf=is_held)
