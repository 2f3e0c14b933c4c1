"""The laws of transformations as values, and of how they mix with others."""

import pickle
from typing import Any

import jax
import numpy as np
import optax

import gradtx as gx
from gradtx.testing.examples import MATRIX, Example, example, f32, few, few_wide
from gradtx.testing.excuses import plain_pair, without_effect, without_leaves, without_schedules
from gradtx.testing.law import Broken, as_doubles, breach_of, exact, law, lines_of, same
from gradtx.testing.subject import Subject, stack
from gradtx.values.value import Value, arguments


def no_trees(subject: Subject) -> list[Example]:
    return [Example(None, None)]


def matrix(subject: Subject) -> list[Example]:
    return [example(MATRIX)]


# ---- a value survives every round trip ----


@law(on=no_trees, excuse=plain_pair)
def value_round_trips(subject: Subject, example: Example) -> None:
    """Pickled, flattened, printed or replaced by nothing, a value comes back equal, with its hash and its repr."""
    round_trips(subject.value)


def round_trips(value: Any) -> None:
    leaves, structure = jax.tree.flatten(value)
    ways = {
        "pickle": lambda: pickle.loads(pickle.dumps(value)),
        "tree_flatten": lambda: structure.unflatten(leaves),
        "replace": lambda: value.replace(),
    }
    if not any(callable(x) and not isinstance(x, Value) for _, x in arguments(value)):  # a function has no expression
        ways["repr"] = lambda: eval(repr(value), dict(vars(gx)) | factories(value))
    for way, back in ways.items():
        other = back()
        if other != value or not other == value:
            raise Broken(f"{way} to give {value!r}", f"{other!r}, which is not equal")
        if (hash(other), repr(other)) != (hash(value), repr(value)):
            raise Broken(f"the hash and the repr of {value!r} from {way}", f"{other!r} with hash {hash(other)}")


def factories(value: Any) -> dict[str, Any]:
    """The factories of a value and of the values inside it, by the names that their reprs begin with."""
    found = {value.recipe.__name__: value.recipe}
    for argument in value.arguments.values():
        for part in jax.tree.leaves(argument, is_leaf=lambda x: isinstance(x, Value)):
            if isinstance(part, Value):
                found |= factories(part)
    return found


@law(on=no_trees, excuse=without_leaves)
def values_differ_by_their_numbers(subject: Subject, example: Example) -> None:
    """Another number makes another value."""
    differ_by_numbers(subject.value)


def differ_by_numbers(value: Any) -> None:
    leaves, structure = jax.tree.flatten(value)
    for i, leaf in enumerate(leaves):
        other = structure.unflatten([*leaves[:i], leaf * 2 + 1, *leaves[i + 1 :]])
        if other == value or not other != value:
            raise Broken(f"{other!r} to differ from {value!r}", "equality")


@law(on=no_trees, excuse=without_leaves)
def arrays_serve_as_numbers(subject: Subject, example: Example) -> None:
    """With scalar arrays for numbers a value is equal to, hashed and pickled like another one of the same."""
    for kind in (np.float32, f32):
        tx, same_again = (jax.tree.map(kind, subject.value) for _ in range(2))
        if not (tx == same_again and hash(tx) == hash(same_again) and pickle.loads(pickle.dumps(tx)) == tx):
            raise Broken(f"{tx!r} with {kind.__name__} equal to itself, hashed and pickled", "another value")


# ---- a number, an array and a schedule are the same hyperparameter ----


@law(on=matrix, excuse=without_effect, remedy="compute with it by jnp, whatever it is: no isinstance, no float(…)")
def hyperparameter_kinds_agree(subject: Subject, example: Example) -> None:
    """A hyperparameter may be a number, a NumPy or a JAX scalar, a traced one or a schedule, with equal updates."""
    tx = subject.value
    # Each number is of each kind once, beside others of other kinds.
    closed_over = [assign_kinds(subject, turn, [np.float64, np.float32, f32, gx.constant]) for turn in range(4)]
    # What is traced is told apart by its dtype alone: a NumPy scalar and a JAX one are the same.
    of_kinds = [assign_kinds(subject, turn, [np.float64, f32, gx.constant]) for turn in range(3)]
    params, gradients = example.filled(3)
    gradients = stack(gradients)

    @jax.jit
    def updates_of_all(traced: Any) -> Any:
        return [subject.scan(one, params, gradients) for one in (tx, *closed_over, *traced)]

    expected, *others = *updates_of_all(of_kinds), subject.compiled_scan(tx, params, gradients)
    names = [f"of {one!r}" for one in closed_over] + [f"of {one!r}, traced" for one in (*of_kinds, tx)]
    for name, got in zip(names, others, strict=True):
        same(expected, got, "updates", f"of {tx!r}", name, rtol=2e-5, atol=1e-7)


@law(on=matrix, excuse=without_effect)
def every_hyperparameter_matters(subject: Subject, example: Example) -> None:
    """No hyperparameter is dropped on the way to the formula: another number gives other updates, to the bit."""
    params, gradients = example.filled(steps := 3)
    gradients = stack(gradients)
    expected = subject.compiled_scan(subject.value, params, gradients)
    for path, x in subject.used.items():
        changed = x + 1 if isinstance(x, int) else 0.25 if x == 0.5 else 0.5
        got = subject.compiled_scan(subject.value.replace(**{path: changed}), params, gradients)
        if all(map(np.array_equal, jax.tree.leaves(got), jax.tree.leaves(expected))):
            expected = f"other updates with {path}={changed} within {steps} steps"
            remedy = f"check with numbers for which it matters so early, or name it: unused=({path!r},)"
            raise Broken(expected, f"those of {path}={x}", remedy=remedy)


def assign_kinds(subject: Subject, turn: int, kinds: list[Any]) -> Any:
    """The value with numbers of several kinds: over as many turns as there are kinds, each is of each of them."""
    of_path = {path: kinds[i % len(kinds)] for i, path in enumerate(subject.used, turn)}
    of_path |= {path: f32 for path in subject.initial & of_path.keys() if of_path[path] is gx.constant}
    return subject.value.replace(**{path: kind(subject.used[path]) for path, kind in of_path.items()})


@law(
    on=few,
    excuse=without_schedules,
    remedy="hand a schedule on as it is; own_count=True is for one that counts something else than the updates",
)
def schedule_is_evaluated_at_the_count(subject: Subject, example: Example) -> None:
    """Under a schedule each step equals that of the transformation with that step's number, from the same state."""
    params, gradients = example.filled(3)
    numbers = subject.schedulable
    halves = [half for half in (list(numbers)[::2], list(numbers)[1::2]) if half]
    for half in halves:
        together = {path: numbers[path] for path in half}
        breach = breach_of(lambda together=together: follow(subject, together, params, gradients))
        if breach:  # which one of them it is
            for path in half:
                follow(subject, {path: numbers[path]}, params, gradients)
            raise breach


def follow(subject: Subject, numbers: dict[str, Any], params: Any, gradients: list[Any]) -> None:
    """Take steps with schedules, and each of them with the numbers of its count."""
    schedules = {path: schedule_from(x) for path, x in numbers.items()}
    tx = subject.value.replace(**schedules)
    state = tx.init(params)
    for t, g in enumerate(gradients):
        at_t = {path: float(schedule(t)) for path, schedule in schedules.items()}
        now = subject.value.replace(**at_t)
        got, after = subject.step(g, state, params, tx)
        expected, _ = subject.step(g, without_frames(state, now.init(params)), params, now)
        for_numbers = ", ".join(f"{path}={x:.6g}" for path, x in at_t.items())
        for_schedules = ", ".join(f"{path}={x!r}" for path, x in schedules.items())
        words = f"with {for_numbers}", f"with {for_schedules} at count {t}"
        same(expected, got, "updates", *words, rtol=2e-5, atol=1e-7)
        state = after


def schedule_from(number: Any) -> Any:
    """A schedule from a number to another one that may stand in its place, by whole numbers where it is one."""
    if isinstance(number, int):
        return gx.linear(number, number + 1, 1)
    return gx.linear(number, number / 2 if number else 0.5, 2)


def without_frames(state: Any, like: Any) -> Any:
    """The state without what schedules add to one like another."""
    if isinstance(state, gx.ScheduledState):
        if not isinstance(like, gx.ScheduledState):
            return without_frames(state.inner_state, like)
        state = state._replace(hyperparams={name: state.hyperparams[name] for name in like.hyperparams})
    children, structure = jax.tree.flatten(state, is_leaf=lambda x: x is not state)
    others = jax.tree.leaves(like, is_leaf=lambda x: x is not like)
    if len(children) != len(others) or (len(children) == 1 and children[0] is state):  # an array
        return state
    return structure.unflatten([without_frames(x, other) for x, other in zip(children, others, strict=True)])


@law(on=few, excuse=without_leaves, remedy="compute with the numbers by jnp alone")
def vmap_sweeps_the_numbers(subject: Subject, example: Example) -> None:
    """Under `vmap` over a value's hyperparameters each gets the update that it gets alone."""
    many = jax.tree.map(lambda x: x * np.array([1.0, 0.9, 0.5], np.float32), subject.value)
    params, (g,) = example.filled(1)
    swept = jax.jit(jax.vmap(lambda tx: subject.first(g, params, tx)))(many)
    alone = stack([subject.first(g, params, jax.tree.map(lambda x, i=i: x[i], many)) for i in range(3)])
    same(alone, swept, "updates", "one value at a time", "under vmap", rtol=2e-5, atol=1e-7)


# ---- with others ----


@law(on=few_wide)
def mixes_with_optax(subject: Subject, example: Example) -> None:
    """Behind a part of Optax, in Optax's chain and in gradtx's, it does what it does behind one of gradtx."""
    chains = {
        "behind gradtx.scale": gx.chain(gx.scale(2.0), subject.tx),
        "in optax.chain": optax.chain(optax.scale(2.0), subject.tx),
        "in gradtx.chain": gx.chain(optax.scale(2.0), subject.tx),
    }

    @jax.jit
    def step(g: Any, states: tuple[Any, ...], params: Any) -> Any:
        each = zip(chains.values(), states, strict=True)
        return list(zip(*(subject.update(g, state, params, tx=tx) for tx, state in each), strict=True))

    params, gradients = example.filled(3)
    states = tuple(tx.init(params) for tx in chains.values())
    for g in gradients:
        (expected, *others), states = step(g, states, params)
        params = optax.apply_updates(params, others[0])
        for name, got in zip(list(chains)[1:], others, strict=True):
            same(expected, got, "updates", "behind gradtx.scale", name, exact(1e-5, 1e-12), exact(1e-6, 0.0))


@law(on=few)
def chain_is_associative_with_identity(subject: Subject, example: Example) -> None:
    """`chain(chain(a, b), a)` equals `chain(a, b, a)`, and a chain of one part does what the part does."""
    a, b = subject.tx, gx.scale(0.5)
    if not gx.chain(gx.chain(a, b), a) == gx.chain(a, gx.chain(b, a)) == gx.chain(a, b, a):
        raise Broken("equal chains however they are grouped", "chains that differ")
    if not gx.chain(gx.chain(), a) == gx.chain(a) == gx.chain(a, gx.chain()):
        raise Broken("a chain that is equal with and without chain()", "chains that differ")
    params, gradients = example.filled(3)
    if same_program(subject, gx.chain(a), params, gradients[0]):
        return  # and so the same updates
    got, _ = subject.run(params, gradients, gx.chain(a))
    expected, _ = subject.run(params, gradients)
    same(expected, got, "updates", "alone", "in a chain", rtol=1e-6, atol=exact(1e-6, 0.0))


def same_program(subject: Subject, tx: Any, params: Any, g: Any) -> bool:
    """Whether another transformation starts with the same state and then runs the same program."""
    state, other = subject.tx.init(params), tx.init(params)
    numbers, others = ([as_doubles(x) for x in jax.tree.leaves(one)] for one in (state, other))
    if len(numbers) != len(others) or not all(map(np.array_equal, numbers, others)):
        return False
    ours, theirs = subject.program(g, state, params), subject.program_again(g, other, params, tx)
    if len(ours.consts) != len(theirs.consts) or not all(map(np.array_equal, ours.consts, theirs.consts)):
        return False
    return lines_of(ours) == lines_of(theirs)
