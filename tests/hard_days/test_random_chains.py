"""Random chains of the whole catalogue on random trees, and with random faults: what is right keeps the laws, and all
else is refused by gradtx in its own words. GRADTX_TESTS_CHAINS=10000 tries as many of them.
"""

from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

import gradtx as gx
from gradtx.core.check import is_float0
from gradtx.core.walk import walk, writes
from tests.hard_days.chains import Drawn, chains, extra_for_all, make_chain
from tests.hard_days.faults import NUMBERS, WRONG, Step
from tests.hard_days.looks import LOOKS
from tests.hard_days.trees import make_gradients, make_params, trees
from tests.hard_days.tries import tries
from tests.hard_days.whose import is_callers, is_optaxs, require_refusal

pytestmark = pytest.mark.slow

TRIES = tries("GRADTX_TESTS_CHAINS", 300)
ENDS = Counter[str]()  # how the tries came out


@pytest.fixture(autouse=True, scope="module")
def whole_tracebacks():
    before = jax.config.jax_traceback_filtering  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_traceback_filtering", "off")
    yield
    jax.config.update("jax_traceback_filtering", before)


def attempt(what: str, call: Any, wrong: bool = False) -> Any:
    """What a call returns, or None where gradtx refuses; any other error is a bug, but for one of a part of Optax's
    that is given what is `wrong`.
    """
    try:
        return call()
    except Exception as error:
        if not is_callers(error) and not (wrong and is_optaxs(error)):
            require_refusal(error)
        note(f"{what} refused: {error}")
        ENDS[what] += 1
        return None


def traced(function: Any, given: Step) -> Any:
    """What comes of an update by its shapes, its arrays being traced."""
    leaves, structure = jax.tree.flatten(given[:3])
    arrays = {i: x for i, x in enumerate(leaves) if isinstance(x, jax.Array)}

    def of_arrays(arrays: Any) -> Any:
        own = structure.unflatten([arrays.get(i, x) for i, x in enumerate(leaves)])
        made, whole = jax.tree.flatten(function(*own, **given.extra))
        rest.append((whole, {i: x for i, x in enumerate(made) if not isinstance(x, jax.Array)}))
        return {i: x for i, x in enumerate(made) if isinstance(x, jax.Array)}

    rest: list[Any] = []  # a word that nobody looks at passes through
    shapes = jax.eval_shape(of_arrays, arrays)
    whole, others = rest[0]
    return whole.unflatten([x for _, x in sorted((shapes | others).items())])


def written(function: Any, given: Step) -> Any:
    with jax.disable_jit():
        return function(*given[:3], **given.extra)


def eager(function: Any, given: Step) -> Any:
    return function(*given[:3], **given.extra)


WAYS = {"traced": traced, "written": written, "eager": eager}
way_names = st.sampled_from(["traced"] * 7 + ["written"] * 2 + ["eager"])


def look_at(tx: Any, state: Any, params: Any, look: str) -> None:
    if isinstance(tx, gx.Transformation):  # and not a chain of Optax's
        with jax.disable_jit():
            LOOKS[look](tx, state, params)


def form(x: Any) -> Any:
    return (x.shape, x.dtype, getattr(x, "weak_type", False)) if hasattr(x, "dtype") else type(x)


def forms(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return list(map(form, leaves)), structure


def check_laws(tx: Any, given: Step, made: Any) -> None:
    """What holds of any update: the form of the state, of the updates and their dtypes."""
    updates, state = made
    parts = list(walk(tx))
    is_optaxs = any(part.rule is None for part in parts)  # whose dtypes are not gradtx's
    is_whole = all(part.rule is None or part.rule.routes is None for part in parts)
    before, after = forms(given.state), forms(state)
    gradients, structure = jax.tree.flatten(given.gradients, is_leaf=lambda x: x is None)
    if is_optaxs:  # its parts keep None where a gradient is None
        assert before[1] == after[1] or None in gradients
    else:
        assert before == after
    rows = structure.flatten_up_to(updates)
    params = structure.flatten_up_to(given.params)
    for u, g, p in zip(rows, gradients, params, strict=True):
        if g is None or is_float0(g):
            assert u is None
            continue
        dtype = jnp.promote_types(g.dtype, p.dtype)
        assert u.shape == p.shape
        exact = jnp.promote_types(dtype, jnp.float32) if writes(tx) else dtype
        # Where there are groups, not all of them may be written exactly.
        assert is_optaxs or u.dtype == exact or (not is_whole and u.dtype == dtype)


kinds = st.sampled_from(["", "", "float32", "float64", "bfloat16"])
looks = st.sampled_from(list(LOOKS))
faults = st.sampled_from([None, None, *WRONG])


@TRIES
@given(chains, trees, kinds, way_names, st.sampled_from(list(NUMBERS)), faults, st.integers(0, 20), looks)
def try_chain(drawn: Drawn, tree: Any, kind: str, way: str, numbers: str, fault: str | None, which: int, look: str):
    ENDS["tries"] += 1
    tx = attempt("factories", lambda: make_chain(drawn))
    if tx is None:
        return
    note(repr(tx))
    params, gradients = make_params(tree), make_gradients(tree, kind)
    state = attempt("init", lambda: tx.init(params))
    if state is None:
        return
    attempt("look", lambda: look_at(tx, state, params, look))
    right = NUMBERS[numbers](Step(gradients, state, params, extra_for_all(drawn, gradients, params)), which)
    run = WAYS[way]
    made = attempt("update", lambda: run(tx.update, right))
    if made is not None:
        check_laws(tx, right, made)
        ENDS["held"] += 1
    if fault is not None and isinstance(tx, gx.Transformation):  # of a chain of Optax's, Optax says what is wrong
        wrong = WRONG[fault](right, which)
        attempt("update of what is wrong", lambda: run(tx.update, wrong), wrong=True)


def test_random_chains():
    ENDS.clear()
    try_chain()
    print(dict(ENDS))
    number = TRIES.max_examples
    assert ENDS["tries"] >= number
    # What is refused at once would show nothing.
    assert ENDS["held"] > 0.3 * number
    assert ENDS["update of what is wrong"] > 0.1 * number
