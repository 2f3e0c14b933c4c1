"""docs/migration.md: every block and every row of it is run, and what stands side by side is compared."""

import functools
import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
import gradtx.optax
from tests.golden import keras_rows, torch_rows
from tests.pages import shown_in
from tests.schedules import test_parity_schedules

PAGE = (Path(__file__).parent.parent / "docs" / "migration.md").read_text()
PEERS = {"Optax": optax, "gradtx.optax": gradtx.optax}
pytestmark = pytest.mark.usefixtures("float32")  # as users have it, and as the examples show it


class Row(NamedTuple):
    head: str  # of the table: whose code stands on the left
    theirs: str
    ours: str
    others: list[str]  # what the third cell says is as good
    where: int  # how many blocks stand before it


def code_of(line: str) -> list[str]:
    return [cell.strip().removeprefix("`").removesuffix("`") for cell in line.strip("|").split(" | ")][:2]


def parse() -> tuple[list[str], list[Row]]:
    """The blocks of Python, and the rows of the tables."""
    blocks, rows, head = [], [], ""
    for part in re.findall(r"^```python\n(?:.|\n)*?^```|^\|.*$", PAGE, re.MULTILINE):
        if part.startswith("```"):
            blocks.append(part.removeprefix("```python\n").removesuffix("```"))
        elif not part.startswith(("| `", "| ---")):
            head = code_of(part)[0]
        elif not part.startswith("| ---"):
            theirs, ours = code_of(part)
            rows.append(Row(head, theirs, ours, re.findall(r"or `(gx\..*?)`", part), len(blocks)))
    return blocks, rows


BLOCKS, ROWS = parse()
of_optax = [row for row in ROWS if row.head == "Optax"]
of_torch_and_keras = [row for row in ROWS if row.head in {"torch", "torch scheduler", "Keras", "Keras schedule"}]
of_keras_arguments = [row for row in ROWS if row.head == "Keras argument"]


def each(rows: list[Row]):
    return pytest.mark.parametrize("row", rows, ids=[f"{row.theirs} -> {row.ours}" for row in rows])


def test_every_row_is_in_one_of_these_tests():
    assert len(of_optax) + len(of_torch_and_keras) + len(of_keras_arguments) == len(ROWS) > 90
    lines, rules = (len(re.findall(pattern, PAGE, re.MULTILINE)) for pattern in (r"^\| [^-]", r"^\| ---"))
    assert len(ROWS) == lines - rules  # each table has a head and a rule
    assert sum(len(row.others) for row in of_optax) == sum(len(row.others) for row in ROWS) == PAGE.count("or `gx.")
    assert len(BLOCKS) == PAGE.count("```python")


# ---- blocks ----


@functools.cache
def spaces_of(peer: str) -> tuple[list[dict[str, Any]], list[str]]:
    """What is defined before each block and behind the last, and what was printed; `optax` is either module."""
    space: dict[str, Any] = {}
    spaces, printed = [{}], io.StringIO()
    with redirect_stdout(printed):
        for block in BLOCKS:
            exec(block.replace("import optax\n", f"import {PEERS[peer].__name__} as optax\n"), space)
            spaces.append(dict(space))
    return spaces, printed.getvalue().splitlines()


@pytest.mark.parametrize("peer", PEERS)
def test_blocks_print_what_stands_below_them(peer):
    shown = [line for block in BLOCKS for line in shown_in(block)]
    assert len(shown) > 20
    assert spaces_of(peer)[1] == shown


# ---- rows of Optax ----


def walk_along(tx: Any, params: Any, grads: Any, broken: tuple[int, ...]) -> list[Any]:
    """The updates of twelve steps; in the broken ones a gradient is NaN."""
    more = isinstance(tx, optax.GradientTransformation)
    own = optax.with_extra_args_support(tx) if more else tx
    state, found, update = tx.init(params), [], jax.jit(own.update)
    for t in range(12):
        g = jax.tree.map(lambda x, t=t: x * (jnp.nan if t in broken else 0.2 * t - 0.7), grads)
        updates, state = update(g, state, params, **({"value": 1.0 + t % 4} if more else {}))
        found.append(updates)
    return found


def measured(x: Any, space: dict[str, Any], broken: tuple[int, ...]) -> Any:
    if hasattr(x, "init"):
        return walk_along(x, space["params"], space["grads"], broken)
    return [x(jnp.asarray(t)) for t in range(80)] if callable(x) else x


@each(of_optax)
@pytest.mark.slow  # formulas do not turn on versions
def test_equals_optax(row):
    broken = (4, 5) if "finite" in row.theirs else ()
    calls = [("Optax", row.theirs), ("gradtx.optax", row.theirs), *[("Optax", x) for x in (row.ours, *row.others)]]
    theirs, *several = (
        measured(eval(text, space := dict(spaces_of(peer)[0][row.where])), space, broken) for peer, text in calls
    )
    assert any(np.any(x) for x in jax.tree.leaves(theirs))
    for found in several:
        found, expected = (jax.tree.leaves(x) for x in (found, theirs))
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-7)


def test_a_row_that_is_not_equal_would_fail():
    row = next(row for row in of_optax if row.theirs == "optax.rmsprop(0.01)")
    with pytest.raises(AssertionError, match="Not equal"):
        test_equals_optax(row._replace(ours="gx.rmsprop(0.01, eps=1e-4)"))


# ---- rows of torch and Keras: those whose numbers were recorded ----


def recorded() -> dict[tuple[str, str], Any]:
    calls = {
        (peer, row.call): row.ours
        for peer, rules in (("torch", torch_rows.ROWS), ("Keras", keras_rows.ROWS))
        for rows in rules.values()
        for row in rows
    }
    calls |= {("torch scheduler", call.removesuffix(" lr")): x for call, x in test_parity_schedules.TORCH.items()}
    return calls | {("Keras schedule", call): x for call, x in test_parity_schedules.KERAS.items()}


@each(of_torch_and_keras)
def test_equals_what_was_recorded(row):
    ours, known = eval(row.ours, dict(gx=gx, folded=keras_rows.folded)), recorded()[row.head, row.theirs]
    if isinstance(known, gx.Schedule):
        np.testing.assert_allclose(ours(jnp.arange(60)), known(jnp.arange(60)), rtol=1e-6)
    else:
        assert ours == known


# ---- arguments of Keras ----


def averages_as_keras(tx: Any, params: Any, grads: Any) -> None:
    state, w, expected = tx.init(params), params, params
    for _ in range(3):
        updates, state = tx.update(grads, state, w)
        w = gx.apply_updates(w, updates)
        expected = jax.tree.map(lambda a, x: 0.99 * a + 0.01 * x, expected, w)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), gx.evaluation_parameters(state, w), expected)


def uses_the_mean_of_four(tx: Any, params: Any, grads: Any) -> None:
    state, adam = tx.init(params), gx.adam(0.1)
    for i in range(4):
        updates, state = tx.update(jax.tree.map(lambda g, i=i: i * g, grads), state, params)
    whole, _ = adam.update(jax.tree.map(lambda g: 1.5 * g, grads), adam.init(params), params)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), updates, whole)


def decays_kernels_alone(tx: Any, params: Any, grads: Any) -> None:
    nothing, ones = jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.ones_like, params)
    updates, _ = tx.update(nothing, tx.init(ones), ones)
    assert {k: bool(jnp.any(x)) for k, x in updates["head"].items()} == {"kernel": True, "bias": False}


def leaves_the_encoder(tx: Any, params: Any, grads: Any) -> None:
    updates, _ = tx.update(grads, tx.init(params), params)
    assert not any(np.any(x) for x in jax.tree.leaves(updates["encoder"]))
    assert np.all(updates["head"]["kernel"])


def reduces_as_keras(tx: Any, params: Any, grads: Any) -> None:
    state, scales = tx.init(params), []
    for value in [1.0, *[0.99995] * 21]:  # less than Keras' min_delta of 1e-4 below the best
        _, state = tx.update(None, state, value=value)
        scales.append(round(float(state.scale), 3))
    assert scales == [1.0] * 10 + [0.1] * 10 + [0.01] * 2


def stops_as_keras(tx: Any, params: Any, grads: Any) -> None:
    state, epochs = tx.init(jnp.zeros(1)), 0
    for value in [2.0, 1.0, *[1.5] * 20]:
        _, state = tx.update(None, state, jnp.full(1, 1.0 * epochs), value=value)
        epochs += 1
        if state.stopped:
            break
    assert (epochs, float(gx.best_parameters(state)[0])) == (12, 1.0)


def is_compiled(update: Any, params: Any, grads: Any) -> None:
    adam = gx.adam(0.1)
    ours, plain = (f(grads, adam.init(params), params)[0] for f in (update, adam.update))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), ours, plain)
    assert "stablehlo" in update.lower(grads, adam.init(params), params).as_text()


CHECKS = {
    "use_ema=True, ema_momentum=0.99": averages_as_keras,
    "gradient_accumulation_steps=4": uses_the_mean_of_four,
    'exclude_from_weight_decay(var_names=["bias"])': decays_kernels_alone,
    "trainable=False` of a layer": leaves_the_encoder,
    "ReduceLROnPlateau(factor=0.1, patience=10)": reduces_as_keras,
    "EarlyStopping(patience=10, restore_best_weights=True)": stops_as_keras,
    "jit_compile=True": is_compiled,
}


@each(of_keras_arguments)
def test_does_what_the_argument_does(row):
    space = dict(spaces_of("Optax")[0][row.where])
    CHECKS[row.theirs](eval(row.ours, space), space["params"], space["grads"])
