"""Optax's wrappers: several transformations, and where and when they act."""

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.combine import Series
from gradtx.core.count import increment
from gradtx.core.factories import require_part
from gradtx.core.flow import Flow, keep_promises
from gradtx.core.rule import Part, Route, Rule
from gradtx.core.transformation import advance, start
from gradtx.optax.borrow import Left, StepCount, as_given, leave_unless, optax_transformation, pass_on
from gradtx.optax.states import NO_NUMBER, restate
from gradtx.optax.trees import AnyMask, Labels, chosen_by, labels_of, with_holes
from gradtx.precision.rounding import to_nearest
from gradtx.precision.writing import HALVES
from gradtx.selectors import two_routes
from gradtx.values.annotations import Check
from gradtx.values.errors import Refusal
from gradtx.values.value import text_of
from gradtx.wrappers.accumulate import AccumulateState, accumulate, is_foreign
from gradtx.wrappers.branch import advance_where
from gradtx.wrappers.guard import all_finite

their_partition, PartitionState = optax.partition, optax.transforms.PartitionState

# ---- several ----


def as_pair(name: str, value: Any) -> Any:
    """A transformation; what has its two functions and is none is made one, as in Optax."""
    if isinstance(value, optax.GradientTransformation) or not (hasattr(value, "init") and hasattr(value, "update")):
        return require_part(name, value)
    if isinstance(value, optax.MultiSteps):
        return value.gradient_transformation()
    return optax.GradientTransformation(value.init, value.update)


def as_pairs(name: str, values: Any) -> tuple[Any, ...]:
    return tuple([as_pair(f"{name}[{i}]", value) for i, value in enumerate(values)])


def as_named_pairs(name: str, values: Any) -> tuple[Any, ...]:
    """Pairs of a name and a transformation."""
    rows = tuple(values.items()) if isinstance(values, Mapping) else tuple(values)
    names = [row[0] for row in rows]
    if len(set(names)) < len(names):
        raise Refusal(ValueError, f"the parts must have different names, got {names}")
    return tuple([(key, as_pair(f"{name}[{key!r}]", tx)) for key, tx in rows])


@optax_transformation
def chain(*args: Annotated[optax.GradientTransformation, Check(as_pairs)]):
    # A chain inside of one is not dissolved: its state is a tuple of its own, as in Optax.
    return Series.of(unnamed=args, named={})


@optax_transformation
def named_chain(*args: Annotated[tuple[str, optax.GradientTransformation], Check(as_named_pairs)]):
    return OrderedSeries.of(unnamed=(), named=dict(args))


class OrderedSeries(Series):
    """A chain with names whose state has its leaves in the order of the parts, as Optax's; a dict sorts them."""

    def init(self, params: Any) -> Any:
        return OrderedDict(super().init(params))

    def advance(self, flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        return OrderedDict(super().advance(flow, state, extra))


# ---- masks ----


def start_masked(tx: Any, chosen: list[bool], params: Any, role: str = "") -> optax.MaskedState:
    return optax.MaskedState(start(tx, with_holes(params, chosen), role))


def advance_masked(tx: Any, flow: Flow, chosen: list[bool], state: Any, extra: dict[str, Any], name: str) -> Any:
    check.require_state(state, optax.MaskedState)
    return optax.MaskedState(advance(tx, flow.select(chosen), state.inner_state, extra, name))


@optax_transformation
def masked(inner: optax.GradientTransformation, mask: AnyMask, *, mask_compatible_extra_args: bool = False):
    # Parts of Optax are to see its marks in the places of other arrays, where gradtx's see None.
    leave_unless(mask_compatible_extra_args=not mask_compatible_extra_args, inner=not is_foreign(inner))

    def advance_inner(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        chosen = chosen_by(mask, flow.selector_tree)
        pass_on(flow, [not one for one in chosen])
        return advance_masked(inner, flow, chosen, state, extra, "inner")

    return Rule(
        init=lambda params: start_masked(inner, chosen_by(mask, params), params),
        advance=advance_inner,
        parts={"inner": Part(inner, ("inner_state",))},
        routes=lambda tree: two_routes(chosen_by(mask, tree), tree, text_of(inner), "as it is", part="inner"),
    )


@optax_transformation
def partition(
    transforms: Annotated[Mapping[Hashable, optax.GradientTransformation], Check(as_named_pairs)],
    param_labels: Labels,
    *,
    mask_compatible_extra_args: bool = False,
):
    pairs: Any = transforms
    if mask_compatible_extra_args or any(is_foreign(tx) for _, tx in pairs):
        options = dict(mask_compatible_extra_args=mask_compatible_extra_args)
        return Left.of(tx=their_partition(dict(pairs), as_given(param_labels), **options))
    several = {
        f"transforms[{i}][1]": (
            label,
            Part(tx, ("inner_states", label, "inner_state"), f"group {label!r} of a partition"),
        )
        for i, (label, tx) in enumerate(pairs)
    }

    def groups(tree: Any) -> list[list[bool]]:
        leaves, said = jax.tree.leaves(tree, is_leaf=check.is_none), labels_of(param_labels, tree)
        rows = [None if x is None else label for x, label in zip(leaves, said, strict=True)]
        known = [label for label, _ in pairs]
        unknown = {label for x, label in zip(leaves, rows, strict=True) if x is not None and label not in known}
        if unknown:
            raise Refusal(ValueError, f"param_labels has {sorted(map(repr, unknown))}, transforms has {known}")
        return [[x is not None and row == label for x, row in zip(leaves, rows, strict=True)] for label in known]

    def init(params: Any) -> Any:
        rows = zip(several.values(), groups(params), strict=True)
        return PartitionState({label: start_masked(part.tx, own, params, part.role) for (label, part), own in rows})

    def advance_groups(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, PartitionState)
        states = {}
        for (name, (label, part)), own in zip(several.items(), groups(flow.selector_tree), strict=True):
            states[label] = advance_masked(part.tx, flow, own, state.inner_states[label], extra, name)
        return PartitionState(states)

    def routes(tree: Any) -> list[Route]:
        rows = zip(several.items(), groups(tree), strict=True)
        return [Route(own, f"{label!r}: {text_of(part.tx)}", name) for (name, (label, part)), own in rows]

    return Rule(init, advance_groups, parts={name: part for name, (_, part) in several.items()}, routes=routes)


# ---- guards ----


@optax_transformation
def apply_if_finite(inner: optax.GradientTransformation, max_consecutive_errors: StepCount):
    def init(params: Any) -> optax.ApplyIfFiniteState:
        zero = jnp.zeros([], jnp.int32)
        return optax.ApplyIfFiniteState(zero, jnp.array(True), jnp.copy(zero), start(inner, params))

    def advance_finite(flow: Flow, state: Any, extra: dict[str, Any]) -> optax.ApplyIfFiniteState:
        check.require_state(state, optax.ApplyIfFiniteState)
        finite = all_finite(flow.updates())
        errors = jnp.where(finite, 0, increment(state.notfinite_count))
        total = jnp.where(finite, state.total_notfinite, increment(state.total_notfinite))
        let_through = finite | (errors > max_consecutive_errors)
        after = advance_where(let_through, inner, flow, state.inner_state, extra, "inner")
        return optax.ApplyIfFiniteState(errors, finite, total, after)

    return Rule(init, advance_finite, parts={"inner": Part(inner, ("inner_state",))})


# ---- large batches in parts ----


@optax_transformation
def multi_steps(opt: optax.GradientTransformation, every_k_schedule: StepCount, accumulator_dtype: Any = None):
    # Each extra argument is that of the last micro-batch: no means of them are kept.
    absent = dict(steps=NO_NUMBER, acc_extra={})
    rule = restate(accumulate(opt, every_k_schedule), AccumulateState, absent=absent)
    return rule if accumulator_dtype is None else with_mean_in(accumulator_dtype, rule)


def with_mean_in(dtype: Any, rule: Rule) -> Rule:
    """The rule with its mean in 16 bits: as `hold` has it, but in arrays of that dtype, as Optax's state has them."""

    def narrow(state: Any) -> Any:
        return state._replace(acc_grads=jax.tree.map(lambda x: to_nearest(x, dtype), state.acc_grads))

    def widen_mean(state: Any) -> Any:
        return state._replace(acc_grads=jax.tree.map(lambda x: x.astype(jnp.float32), state.acc_grads))

    def advance_narrow(flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        check.require_state(state, optax.MultiStepsState)
        after = rule.advance(flow, widen_mean(state), extra)
        return flow.promise(lambda: narrow(keep_promises(after)))

    def init(params: Any) -> Any:
        return narrow(widen_mean(rule.init(params)))

    return Rule(init, advance_narrow, takes=rule.takes, needs=rule.needs)


@jax.tree_util.register_pytree_node_class
class MultiSteps(optax.MultiSteps):
    """Optax's class. Where `use_grad_mean` and `should_skip_update_fn` are as they are by default, the inner
    transformation runs at the end of a window alone, and it prints, compares, pickles and goes into `jit` as the value
    that `gradient_transformation()` is.
    """

    def __init__(
        self,
        opt: Any,
        every_k_schedule: Any,
        use_grad_mean: bool = True,
        should_skip_update_fn: Any = None,
        accumulator_dtype: Any = jnp.float32,
    ):
        super().__init__(opt, every_k_schedule, use_grad_mean, should_skip_update_fn, accumulator_dtype)
        narrow = jnp.dtype(accumulator_dtype) != jnp.float32
        has_codec = jnp.dtype(accumulator_dtype) in HALVES and not callable(every_k_schedule)
        self.tx = None
        if use_grad_mean and should_skip_update_fn is None and (has_codec or not narrow):
            options = dict(accumulator_dtype=accumulator_dtype) if narrow else {}
            self.tx = multi_steps(as_pair("opt", opt), every_k_schedule, **options)

    def init(self, params: Any) -> Any:
        return self.tx.init(params) if self.tx is not None else super().init(params)

    def update(self, updates: Any, state: Any, params: Any = None, **extra_args: Any) -> tuple[Any, Any]:
        own = super() if self.tx is None else self.tx
        return own.update(updates, state, params, **extra_args)

    def gradient_transformation(self) -> Any:
        return super().gradient_transformation() if self.tx is None else self.tx

    @property
    def inner_opt(self) -> Any:
        return super().inner_opt if self.tx is None else self.tx.opt

    def __repr__(self) -> str:
        return super().__repr__() if self.tx is None else repr(self.tx).replace("multi_steps", "MultiSteps", 1)

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, MultiSteps) and self.tx is not None and self.tx == other.tx
        return self is other or same

    def __hash__(self) -> int:
        return id(self) if self.tx is None else hash(self.tx)

    def __reduce__(self) -> Any:
        return object.__reduce__(self) if self.tx is None else (multi_steps_around, (self.tx,))

    def tree_flatten(self) -> tuple[Any, Any]:
        return ((), self) if self.tx is None else ((self.tx,), None)

    @classmethod
    def tree_unflatten(cls, whole: Any, parts: Any) -> Any:
        return whole or multi_steps_around(*parts)


def multi_steps_around(tx: Any) -> MultiSteps:
    """Optax's class around a value of `multi_steps`."""
    made = object.__new__(MultiSteps)
    made.tx = tx
    return made
