"""The transformation: a pure pair of functions, `init` and `update`, that is also a value."""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, get_args

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.count import ScheduledState, in_force, increment, value_at
from gradtx.core.eager import compilable, compiled_update, lasting
from gradtx.core.flow import Flow, Init, Rule, Update, taking
from gradtx.selectors import Selector, Where, as_selector
from gradtx.values.errors import Refusal, errors_of
from gradtx.values.printing import excerpt
from gradtx.values.recipe import Recipe
from gradtx.values.value import Value, arguments, register

P = ParamSpec("P")
Updates = Any  # a tree of arrays like the parameters

# Extra arguments of `update` that may always be passed: line searches and measurement-driven parts take them.
STANDARD = frozenset({"value", "grad", "value_fn", "loss_fn"})


@register
class Transformation(Value, optax.GradientTransformationExtraArgs):
    """A pure pair `init(params) -> state`, `update(updates, state, params, **extra) -> (updates, state)`, and a value.

    It is an Optax transformation and unpacks as `init, update = tx`. Printed, compared, hashed and pickled by its
    arguments, it is a pytree of the numbers among them: an argument of `jit`, of `vmap`, of `grad`. Outside `jit` an
    update runs as one compiled call that takes the numbers as arguments, so a new value compiles nothing (beside an
    Optax transformation, and a function that is none of a module's, each value is compiled for itself).

    **Raises:** (`update`) `ValueError` where the updates, the parameters and the state don't match in structure or
    shape; `TypeError` for leaves that are neither floating-point nor complex, a state of another optimizer, and extra
    arguments that no part takes or that a part lacks.

    >>> import gradtx, jax.numpy as jnp
    >>> tx, w = gradtx.sgd(0.1), jnp.array([1.0])
    >>> updates, state = tx.update(2 * w, tx.init(w), w)
    >>> gradtx.apply_updates(w, updates), tx.replace(learning_rate=0.5)
    (Array([0.8], dtype=float32), sgd(learning_rate=0.5))
    """

    init: Init  # pyright: ignore[reportIncompatibleVariableOverride]  # Optax's types of trees are narrower
    update: Update  # pyright: ignore[reportIncompatibleVariableOverride]  # as above

    def __new__(cls) -> "Transformation":
        def init(params: Any) -> Any:
            with errors_of(self.recipe.__name__):
                if self.takes_all:
                    check.require_params_of_arrays(params)
                return self.built[0](params)

        def update(updates: Updates, state: Any, params: Any = None, **extra: Any) -> tuple[Updates, Any]:
            extra = self.accepted(extra)
            rest = updates, state, params, extra
            if compilable(self, *rest):
                try:
                    return compiled_update(self, *rest) if self.shareable else self.compiled(*rest)
                except jax.errors.JAXTypeError:
                    raise
                except (TypeError, ValueError):
                    pass  # run as written, it is raised again without JAX's frames and with the numbers in its notes
            with errors_of(self.recipe.__name__):
                flow = Flow(updates, params)
                finish = advance(self, flow, state, extra)
                return flow.updates(), finish()

        self = super().__new__(cls, init, update)
        return self

    def __add__(self, other: Any) -> Any:  # a tuple's would give a tuple
        raise TypeError(f"{self.recipe.__name__}: transformations have no + and *; join them with gradtx.chain")

    __radd__ = __mul__ = __rmul__ = __add__

    def _replace(self, **changes: Any) -> Any:  # a tuple's would forget what it was built from
        raise TypeError(f"{self.recipe.__name__}: use .replace(…), or optax.GradientTransformation(init, update)")

    @functools.cached_property
    def extra(self) -> frozenset[str] | None:
        """The names of the extra arguments that `update` takes, `None` for any (Optax does not say)."""
        if isinstance(self.built, Transformation):
            return self.built.extra
        parameters = extra_parameters(self.built)
        names = frozenset(p.name for p in parameters if p.kind is not p.VAR_KEYWORD)
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            for part in inner(self).values():
                taken = extra_of(part)
                if taken is None:
                    return None
                names |= taken
        return names

    @functools.cached_property
    def required(self) -> list[str]:
        """The extra arguments that the update can't do without; a part inside speaks for itself."""
        own = [] if isinstance(self.built, Transformation) else extra_parameters(self.built)
        return [p.name for p in own if p.kind is p.KEYWORD_ONLY and p.default is p.empty]

    @functools.cached_property
    def takes_all(self) -> bool:
        """Whether every array has to be one that it can work on: no part or selector decides that."""
        composed = isinstance(self.built, Transformation)  # whose own parts speak for it
        return not inner(self) and not selects(self) and (composed or getattr(self.built, "takes_all", True))

    @functools.cached_property
    def shareable(self) -> bool:
        """Whether all that is static is plain data, so that equal structures may share a compiled update for ever."""
        inside = [x for _, x in arguments(self) if not isinstance(x, Value)]
        return not any(isinstance(x, optax.GradientTransformation) or (callable(x) and not lasting(x)) for x in inside)

    @functools.cached_property
    def compiled(self) -> Any:
        """The update of this value alone, which goes when the value goes, with the functions that it holds."""
        return jax.jit(lambda updates, state, params, extra: self.update(updates, state, params, **extra))

    def accepted(self, extra: dict[str, Any]) -> dict[str, Any]:
        if self.extra is None or extra.keys() <= self.extra:
            return extra
        unknown = sorted(extra.keys() - self.extra - STANDARD)
        if unknown:
            names = ", ".join(sorted(self.extra | STANDARD))
            remedy = "to hand one to another part, join both with gradtx.chain"
            raise TypeError(f"{self.recipe.__name__}: update takes {names}, got {', '.join(unknown)}; {remedy}")
        return {name: extra[name] for name in extra if name in self.extra}


def inner(tx: Transformation) -> dict[str, Any]:
    """The transformations among a value's arguments, Optax's too, by their paths."""

    def among(x: Any, path: str) -> Iterator[tuple[str, Any]]:
        if isinstance(x, optax.GradientTransformation):
            yield path, x
        elif type(x) is tuple:
            for i, part in enumerate(x):
                yield from among(part, f"{path}[{i}]")

    return {path: part for name, x in tx.arguments.items() for path, part in among(x, name)}


def parts_inside(tx: Any) -> Iterator[Transformation]:
    """A transformation of gradtx, and all that it is made of."""
    if isinstance(tx, Transformation):
        yield tx
        for part in [tx.built] if isinstance(tx.built, Transformation) else inner(tx).values():
            yield from parts_inside(part)


def selects(tx: Any) -> bool:
    """Whether there is a selector in it."""
    return any(isinstance(x, Selector) for part in parts_inside(tx) for _, x in arguments(part))


def extra_parameters(pair: Any) -> list[inspect.Parameter]:
    """The parameters of an update behind `updates, state, params`."""
    if isinstance(pair, Transformation):
        names, keyword = pair.extra, inspect.Parameter.KEYWORD_ONLY
        if names is None:
            return [inspect.Parameter("extra", inspect.Parameter.VAR_KEYWORD)]
        return [inspect.Parameter(name, keyword, default=None) for name in sorted(names)]
    advances = isinstance(pair, Rule)
    parameters = list(inspect.signature(pair.advance if advances else pair[1]).parameters.values())
    return parameters[2 if advances else 3 :]


def extra_of(part: Any) -> frozenset[str] | None:
    if isinstance(part, Transformation):
        return part.extra
    return None if isinstance(part, optax.GradientTransformationExtraArgs) else frozenset()


def extra_for(part: Any, extra: dict[str, Any]) -> dict[str, Any]:
    """Of several extra arguments those that this part takes: what a transformation of several parts hands to each.

    >>> import gradtx
    >>> gradtx.extra_for(gradtx.reduce_on_plateau(), dict(value=1.0, loss_fn=abs))
    {'value': 1.0}
    """
    names = extra_of(part)
    return extra if names is None else {name: value for name, value in extra.items() if name in names}


def advance(pair: Any, flow: Flow, state: Any, extra: dict[str, Any]) -> Callable[[], Any]:
    """Take a flow through a transformation or a plain pair; what is returned gives the new state when it has run."""
    if isinstance(pair, Transformation):
        with flow.within(functools.partial(errors_of, pair.recipe.__name__)):
            check.require_extra([name for name in pair.required if name not in extra])
            if pair.takes_all:
                check.require_arrays(flow.leaves)
            return advance(pair.built, flow, state, extra)
    if isinstance(pair, Rule):
        return pair.advance(flow, state, **extra)
    if flow.params is not None:  # a pair sees no more parameters than it has updates for, a loss needs all
        extra = extra | {k: flow.of_all(f) for k, f in extra.items() if k in ("value_fn", "loss_fn") and callable(f)}
    updates, after = pair[1](flow.updates(), state, flow.own_params, **extra)
    flow.put(updates)
    return lambda: after


# ---- decorators ----


class transformation(Recipe[P, Transformation]):
    """Makes a factory of pairs a factory of `Transformation`.

    The factory returns `(init, update)`; its arguments annotated `Scalar` (or with a narrower range: `Positive`,
    `NonNegative`, `Fraction`, `Decay`, `Steps`, `Natural`) are the hyperparameters. Where one is a schedule, the
    factory is called with its value at the state's count, which `ScheduledState` keeps. Extra arguments of `update`
    are named after a `*`; `**extra` stands for those of the transformations among the arguments. The numbers may be
    traced, and so must decide nothing in Python: what decides is `None` or a bool.

    >>> import gradtx, jax.numpy as jnp
    >>> @gradtx.transformation
    ... def shrink(threshold: gradtx.NonNegative):
    ...     return gradtx.stateless(lambda g: jnp.sign(g) * jnp.maximum(jnp.abs(g) - threshold, 0.0))
    >>> tx = shrink(1.0)
    >>> tx, tx.update(jnp.array([3.0, 0.5]), tx.init(None))[0]
    (shrink(threshold=1.0), Array([2., 0.], dtype=float32))
    """

    kind = Transformation

    def checked(self, name: str, value: Any) -> Any:
        annotation = self.annotation(name)
        kind = annotation if inspect.isclass(annotation) else None
        if annotation == Where:
            return as_selector(name, value)
        if kind and issubclass(kind, optax.GradientTransformation):
            if name != self.variadic:
                return self.part(name, value)
            return tuple(self.part(f"{name}[{i}]", part) for i, part in enumerate(value))
        if value is not None and optax.GradientTransformation in get_args(annotation):
            return self.part(name, value)
        return super().checked(name, value)

    def part(self, name: str, value: Any) -> Any:
        """An argument that is a transformation."""
        if isinstance(value, optax.GradientTransformation):
            return value
        got = f"{type(value).__name__} {excerpt(value)}"
        if callable(value):
            got = f"a function; call it: {getattr(value, '__name__', '')}(…)"
        raise Refusal(TypeError, f"{name} must be a transformation, got {got}")

    def build(self, arguments: dict[str, Any]) -> Any:
        def with_extra(x: Any) -> Any:
            if type(x) is tuple:
                return tuple(map(with_extra, x))
            foreign = isinstance(x, optax.GradientTransformation) and not isinstance(x, Transformation)
            return optax.with_extra_args_support(x) if foreign else x

        return super().build({name: with_extra(value) for name, value in arguments.items()})

    def pair(self, arguments: dict[str, Any]) -> Any:
        schedules = {k: v for k, v in arguments.items() if k in self.ranges and callable(v)}
        return self.scheduled(arguments, schedules) if schedules else check.require_pair(self.build(arguments))

    def scheduled(self, arguments: dict[str, Any], schedules: dict[str, Callable[..., Any]]) -> Any:
        """The pair with its schedules evaluated at a count of its own."""

        def init(params: Any) -> ScheduledState:
            count = jnp.zeros([], jnp.int32)
            now = {name: value_at(schedule, count) for name, schedule in schedules.items()}
            return ScheduledState(count, now, self.build(arguments | now)[0](params))

        def advance_scheduled(flow: Flow, state: Any, **extra: Any) -> Callable[[], ScheduledState]:
            check.require_state(state, ScheduledState)
            now = {name: in_force(schedules[name], state.count, held) for name, held in state.hyperparams.items()}
            finish = advance(self.build(arguments | now), flow, state.inner_state, extra)
            return lambda: ScheduledState(increment(state.count), now, finish())

        # What it takes is what the pair within takes, which no number decides.
        built: list[Any] = []
        number = jax.ShapeDtypeStruct((), jnp.result_type(float))
        jax.eval_shape(
            lambda now: built.append(check.require_pair(self.build(arguments | now))), dict.fromkeys(schedules, number)
        )
        rule = Rule(init, taking(extra_parameters(built[0]), advance_scheduled))
        rule.takes_all = not selects(built[0])
        return rule


class composition(transformation[P]):
    """Makes a factory of other transformations a factory of `Transformation`; schedules reach it as they are.

    >>> import gradtx
    >>> @gradtx.composition
    ... def clipped_sgd(learning_rate: gradtx.NonNegative, max_norm: gradtx.Positive = 1.0):
    ...     return gradtx.chain(gradtx.clip_by_global_norm(max_norm), gradtx.sgd(learning_rate))
    >>> clipped_sgd(gradtx.cosine(0.1, 100)).replace(max_norm=2.0)
    clipped_sgd(learning_rate=cosine(start=0.1, steps=100), max_norm=2.0)
    """

    def pair(self, arguments: dict[str, Any]) -> Any:
        return check.require_pair(self.build(arguments))
