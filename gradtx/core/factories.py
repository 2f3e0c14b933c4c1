"""The decorators that make a factory of rules, of pairs or of other transformations one of `Transformation`."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, get_args

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.count import ScheduledState, as_weak, in_force, increment, value_at
from gradtx.core.flow import Flow
from gradtx.core.pair import rule_of_pair, with_extra
from gradtx.core.returned import require_pair
from gradtx.core.rule import Keys, Part, Rule, transformations_in
from gradtx.core.transformation import Transformation, advance, selects_by_rule, start, takes_of_rule
from gradtx.core.walk import writes_by_rule
from gradtx.values.annotations import check_in
from gradtx.values.errors import Refusal
from gradtx.values.printing import excerpt, what_came
from gradtx.values.recipe import Recipe
from gradtx.values.value import BUILT, Value, build, put_numbers

P = ParamSpec("P")


class transformation(Recipe[P, Transformation]):
    """Makes a factory of rules a factory of `Transformation`.

    The factory returns what `per_array`, `stateless` or `scaling` make, or a pair `(init, update)`; its arguments
    annotated `Scalar` (or with a narrower range: `Positive`, `NonNegative`, `Fraction`, `Decay`, `Steps`, `Natural`)
    are the hyperparameters. Where one is a schedule, the factory is called with its value at the state's count, which
    `ScheduledState` keeps. Extra arguments of `update` are named after a `*`; `**extra` stands for those of the
    transformations among the arguments. The numbers may be traced, and so must decide nothing in Python: what decides
    is `None` or a bool.

    >>> import gradtx, jax.numpy as jnp
    >>> @gradtx.transformation
    ... def shrink(threshold: gradtx.NonNegative):
    ...     return gradtx.stateless(lambda g: jnp.sign(g) * jnp.maximum(jnp.abs(g) - threshold, 0.0))
    >>> tx = shrink(1.0)
    >>> tx, tx.update(jnp.array([3.0, 0.5]), tx.init(None))[0]
    (shrink(threshold=1.0), Array([2., 0.], dtype=float32))
    """

    kind = Transformation

    @functools.cached_property
    def holds_parts(self) -> bool:
        """Whether there may be transformations among the arguments."""
        return any(mentions_parts(p.annotation) for p in self.parameters)

    @functools.cached_property
    def selects(self) -> bool:
        """Whether one of the arguments decides which arrays are meant."""
        return any(own.selects for p in self.parameters if (own := check_in(p.annotation)))

    def check_of(self, parameter: inspect.Parameter) -> Callable[[str, Any], Any]:
        annotation = parameter.annotation
        if is_of_parts(annotation) and not check_in(annotation):
            return require_parts if parameter.kind is parameter.VAR_POSITIONAL else require_part_or_none(annotation)
        own = super().check_of(parameter)
        kind = type(parameter.default) if annotation is parameter.empty else annotation
        return require_plain(own) if kind in (float, int) and not isinstance(self, composition) else own

    def build(self, arguments: dict[str, Any]) -> Rule:
        if self.holds_parts:
            build_parts(arguments)
        for name in self.ranges:  # most have none
            if callable(arguments[name]) or type(arguments[name]) is tuple:
                schedules = self.schedules_among(arguments)
                return self.scheduled_rule(arguments, schedules) if schedules else self.rule(arguments)
        return self.rule(arguments)

    def schedules_among(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The hyperparameters that are functions of the count, by their paths: a number of a tuple has its own."""
        found: dict[str, Any] = {}
        for name in self.ranges:
            x = arguments[name]
            if callable(x):
                found[name] = x
            elif type(x) is tuple:
                found |= {f"{name}[{i}]": part for i, part in enumerate(x) if callable(part)}
        return found

    def rule(self, arguments: dict[str, Any]) -> Rule:
        """What the factory makes, as a rule."""
        if self.holds_parts:
            made = self.call({name: with_extra(x) for name, x in arguments.items()})
        else:
            made = self.factory(**arguments)  # pyright: ignore[reportCallIssue]  # as in `call`, which costs more
        if isinstance(made, Rule):
            return made
        if isinstance(made, Transformation):
            return Composed.of(tx=made)
        require_pair(made)
        return rule_of_pair(*made, inside=transformations_in(arguments) if self.holds_parts else {})

    def scheduled_rule(self, arguments: dict[str, Any], schedules: dict[str, Any]) -> Rule:
        """The rule with its schedules evaluated at a count of its own: it is made anew for the numbers of each step."""

        def init(params: Any) -> ScheduledState:
            count = jnp.zeros([], jnp.int32)
            now = {path: value_at(x, count) for path, x in schedules.items()}
            return ScheduledState(count, now, self.rule(put_numbers(arguments, now)).init(params))

        def advance_scheduled(flow: Flow, state: Any, extra: dict[str, Any]) -> ScheduledState:
            check.require_state(state, ScheduledState)
            check.require_names(state.hyperparams, list(schedules))
            now = {path: in_force(schedules[path], state.count, held) for path, held in state.hyperparams.items()}
            weak = {path: as_weak(x) for path, x in now.items()}
            inner_state = self.rule(put_numbers(arguments, weak)).advance(flow, state.inner_state, extra)
            return ScheduledState(increment(state.count), now, inner_state)

        outlines: list[Rule] = []
        number = jax.ShapeDtypeStruct((), jnp.result_type(float))
        jax.eval_shape(
            lambda now: outlines.append(outline(self.rule(put_numbers(arguments, now)), arguments)),
            dict.fromkeys(schedules, number),
        )
        numbers: dict[str, Keys] = {path: ("hyperparams", path) for path in schedules}
        known = outlines[0]
        return Rule(
            init,
            advance_scheduled,
            takes=known.takes,
            needs=known.needs,
            parts=known.parts,
            numbers=numbers,
            counts=known.counts,
            selects=known.selects,
            writes=known.writes,
            descends=known.descends,
        )


def build_parts(arguments: dict[str, Any]) -> None:
    """Make the parts first: what they compute would not outlive a trace or a branch that is first to need them."""
    left: list[Any] = [*arguments.values()]
    while left:
        x = left.pop()
        if type(x) is tuple:
            left += x
        elif isinstance(x, Transformation) and BUILT not in x.__dict__:
            build(x)


class composition(transformation[P]):
    """Makes a factory of other transformations a factory of `Transformation`; schedules reach it as they are.

    >>> import gradtx
    >>> @gradtx.composition
    ... def clipped_sgd(learning_rate: gradtx.NonNegative, max_norm: gradtx.Positive = 1.0):
    ...     return gradtx.chain(gradtx.clip_by_global_norm(max_norm), gradtx.sgd(learning_rate))
    >>> clipped_sgd(gradtx.cosine(0.1, 100)).replace(max_norm=2.0)
    clipped_sgd(learning_rate=cosine(start=0.1, steps=100), max_norm=2.0)
    """

    def build(self, arguments: dict[str, Any]) -> Rule:
        if self.holds_parts:
            build_parts(arguments)
        return self.rule(arguments)


class Composed(Rule):
    """The rule of a composition."""

    tx: Transformation  # what its factory returned

    @functools.cached_property
    def parts(self) -> dict[str, Part]:
        return {"": Part(self.tx, ())}

    def init(self, params: Any) -> Any:
        return start(self.tx, params)

    def advance(self, flow: Flow, state: Any, extra: dict[str, Any]) -> Any:
        return advance(self.tx, flow, state, extra, "")

    @property
    def advance_if(self) -> Any:
        return build(self.tx).advance_if and self.advance_where

    def advance_where(self, flow: Flow, state: Any, ok: Any, extra: dict[str, Any]) -> Any:
        return advance(self.tx, flow, state, extra, "", ok)


def outline(rule: Rule, arguments: dict[str, Any]) -> Rule:
    """What a rule says of itself without what it computes: nothing in it knows the numbers that it was made with."""
    known = transformations_in(arguments)
    parts = {
        path: Part(known[path], ("inner_state", *part.keys), part.role)
        for path, part in (rule.parts or {}).items()
        if path in known
    }
    own = None if rule.parts is None else parts
    return Rule(
        no_function,
        no_function,
        takes=takes_of_rule(rule),
        needs=rule.needs,
        parts=own,
        counts=tuple(("inner_state", *keys) for keys in rule.counts),
        selects=selects_by_rule(rule),
        writes=writes_by_rule(rule),
        descends=rule.descends,
    )


def no_function(*_: Any) -> Any:
    """In an outline."""


# ---- arguments that are transformations ----


def mentions_parts(annotation: Any) -> bool:
    inside = get_args(annotation)
    return is_of_parts(annotation) or any(mentions_parts(x) for x in inside)


def is_of_parts(annotation: Any) -> bool:
    """Whether an argument is a transformation, or may be one."""
    kinds = [annotation, *get_args(annotation)]
    return any(inspect.isclass(x) and issubclass(x, optax.GradientTransformation) for x in kinds)


def require_plain(own: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """The check, and that an argument which is no hyperparameter gets no schedule."""

    def check_plain(name: str, value: Any) -> Any:
        if callable(value):
            problem = f"{name} is no hyperparameter and takes no schedule, got {excerpt(value)}"
            raise Refusal(TypeError, f"{problem}; annotate it, as in {name}: gradtx.Scalar")
        return own(name, value)

    return check_plain


def require_part_or_none(annotation: Any) -> Callable[[str, Any], Any]:
    optional = type(None) in get_args(annotation)
    return lambda name, value: value if optional and value is None else require_part(name, value)


def require_parts(name: str, values: Any) -> tuple[Any, ...]:
    for i, part in enumerate(values):
        if type(part) is not Transformation:
            require_part(f"{name}[{i}]", part)
    return values


def require_part(name: str, value: Any) -> Any:
    """Refuse what is no transformation."""
    if isinstance(value, optax.GradientTransformation):
        return value
    got = what_came(value)
    if isinstance(value, Value) and hasattr(value, "then"):
        got = f"{got}; a schedule goes into one, as in scale_by_learning_rate(…)"
    elif isinstance(value, list):
        got = f"{got}; give its parts one by one, with a star before the list"
    raise Refusal(TypeError, f"{name} must be a transformation, got {got}")
