"""`import gradtx.optax as optax`: the same calls, signatures, results and states as Optax's."""

import importlib
import importlib.metadata
import inspect
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax as real
import pytest

import gradtx as gx
import gradtx.optax as optax
from gradtx.core.check import is_key
from gradtx.core.walk import walk
from tests.optax.examples import TRANSFORMATIONS
from tests.optax.page import FUNCTIONS_OF_TREES
from tests.optax.runs import PARAMS, make, params_for, run
from tests.optax.schedule_examples import SCHEDULES

PAIRS: list[tuple[Any, Any]] = [
    (optax, real),
    (optax.schedules, real.schedules),
    (optax.transforms, real.transforms),
    (optax.contrib, real.contrib),
]
WIDER = {"inject_hyperparams", "MultiSteps"}  # float32 in Optax under 64-bit types, too
CALLS = [(name, call) for name, calls in TRANSFORMATIONS.items() for call in calls]
EAGER = [TRANSFORMATIONS[name][-1] for name in ("adamw", "inject_hyperparams", "masked", "MultiSteps", "partition")]


def own_names() -> dict[str, tuple[Any, Any]]:
    """Ours and Optax's object of each name that is ours."""
    found = {}
    for ours, theirs in PAIRS:
        for name in dir(theirs):
            own, original = getattr(ours, name), getattr(theirs, name)
            if not name.startswith("_") and own is not original and not inspect.ismodule(own):
                found[name] = own, original
    return found


OWN = own_names()


def test_every_name_of_its_own_has_a_call_in_the_table():
    assert OWN.keys() == TRANSFORMATIONS.keys() | SCHEDULES.keys() | FUNCTIONS_OF_TREES
    listed = {x for x in optax.__all__ if not inspect.ismodule(getattr(optax, x))}
    assert listed | set(optax.contrib.__all__) == OWN.keys()


@pytest.mark.skipif(importlib.metadata.version("optax") < "0.2.8", reason="the signatures are those of Optax 0.2.8")
@pytest.mark.parametrize("name", OWN)
def test_signatures_are_optaxs(name):
    def rows(x):
        return [(p.name, p.kind, p.default) for p in inspect.signature(x).parameters.values()]

    own, original = OWN[name]
    assert rows(own) == rows(original)


@pytest.mark.parametrize(("name", "call"), CALLS, ids=[call for _, call in CALLS])
def test_results_and_states_are_optaxs(name, call):
    own, theirs = (run(make(call, module), True, name) for module in (optax, real))
    # Optax rounds the product of a moment and its decay to a narrow dtype too; gradtx rounds what it stores.
    rtol, atol = (1e-2, 5e-3) if "float16" in call else (1e-4, 1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), own[:2], theirs[:2])
    assert_states_equal(name, own[2], theirs[2], rtol, atol)


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_fresh_states_are_optaxs(name):
    """So that one of ours goes on in Optax, too."""
    for call in TRANSFORMATIONS[name]:
        own, theirs = (make(call, module).init(params_for(name)) for module in (optax, real))
        assert_states_equal(name, own, theirs, rtol=1e-6, atol=0.0)


def assert_states_equal(name, own, theirs, rtol, atol):
    assert jax.tree.structure(own) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(own), jax.tree.leaves(theirs), strict=True):
        assert jnp.shape(a) == jnp.shape(b)
        assert name in WIDER or jnp.result_type(a) == jnp.result_type(b)
        np.testing.assert_allclose(as_numbers(a), as_numbers(b), rtol=rtol, atol=atol)


def as_numbers(x):
    """In one dtype, a random key too."""
    return jnp.float32(jax.random.key_data(x) if is_key(x) else x)


@pytest.mark.parametrize("call", EAGER)
def test_results_outside_of_jit(call):
    own, theirs = (run(make(call, module), compiled=False)[0] for module in (optax, real))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), own, theirs)


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_they_are_values(name):
    call = TRANSFORMATIONS[name][0]
    tx = make(call, optax)
    assert isinstance(tx, gx.Transformation)
    assert tx == make(call, optax)
    assert hash(tx) == hash(make(call, optax))
    assert pickle.loads(pickle.dumps(tx)) == tx
    jax.jit(lambda tx, g: tx.update(g, tx.init(PARAMS), PARAMS, value=1.0))  # its numbers are leaves


@pytest.mark.parametrize("call", [call for calls in SCHEDULES.values() for call in calls])
def test_schedules_are_optaxs(call):
    own, theirs = make(call, optax), make(call, real)
    assert isinstance(own, gx.Schedule)
    assert hash(own) == hash(own)
    for count in (0, 1, 2, 3, 4, 5, 8, 9, 10, 50):
        np.testing.assert_allclose(own(count), theirs(count), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(jax.jit(own)(count), theirs(count), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(own(jnp.arange(12)), jax.vmap(theirs)(jnp.arange(12)), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("call", [call for calls in SCHEDULES.values() for call in calls])
def test_schedules_are_arguments_of_compiled_calls(call):
    """One of the user's, and the one that an update outside of `jit` is."""
    own, theirs = make(call, optax), make(call, real)
    np.testing.assert_allclose(jax.jit(lambda rate: rate(3))(own), theirs(3), rtol=1e-5, atol=1e-7)
    w = jnp.array([3.0, 1.0])
    tx = optax.sgd(own)
    np.testing.assert_allclose(tx.update(w, tx.init(w), w)[0], -theirs(0) * w, rtol=1e-5, atol=1e-7)


def test_a_position_in_a_cycle_may_be_given_as_an_array():
    for n in (jnp.int32(100), np.int64(100)):
        rate = optax.linear_onecycle_schedule(n, 0.1, jnp.float32(0.5))
        np.testing.assert_allclose(jax.jit(lambda rate: rate(50))(rate), 0.1, rtol=1e-6)
    tx = optax.MultiSteps(optax.inject_hyperparams(optax.adam)(optax.cosine_onecycle_schedule(100, 0.1)), 1)
    updates, _ = tx.update(jnp.ones(1), tx.init(jnp.ones(1)), jnp.ones(1))
    np.testing.assert_allclose(updates, [-0.1 / 25], rtol=1e-4)


def test_what_a_default_call_makes_is_gradtxs_own():
    """Not a call that was left to Optax: there would be a plain pair in it."""
    for name, calls in TRANSFORMATIONS.items():
        nodes = [node.tx for node in walk(make(calls[0], optax))]
        assert all(isinstance(tx, gx.Transformation) for tx in nodes), name


# ---- what gradtx lacks ----


def test_the_rest_is_optaxs_own():
    from gradtx.optax import losses, projections

    assert losses is real.losses
    assert projections is real.projections
    assert optax.contrib.SAMState is real.contrib.SAMState
    assert optax.tree_utils is real.tree_utils
    assert optax.tree is real.tree
    assert optax.transforms.monitor is real.transforms.monitor
    assert optax.schedules.InjectStatefulHyperparamsState is real.schedules.InjectStatefulHyperparamsState
    assert optax.__version__ == real.__version__
    for ours, theirs in PAIRS:
        assert set(dir(theirs)) <= set(dir(ours))
    with pytest.raises(AttributeError, match="no attribute 'adamm'"):
        optax.adamm  # noqa: B018


def test_what_gradtx_lacks_is_imported_as_from_optax():
    import gradtx.optax.tree_utils as otu  # pyright: ignore[reportMissingImports]
    from gradtx.optax.losses import huber_loss  # pyright: ignore[reportMissingImports]

    assert otu is real.tree_utils
    assert huber_loss is real.losses.huber_loss
    for name in [x for x in dir(real) if inspect.ismodule(getattr(real, x)) and not x.startswith("_")]:
        assert importlib.import_module(f"gradtx.optax.{name}") is getattr(optax, name), name
    for own in ("contrib", "schedules", "transforms"):
        assert importlib.import_module(f"gradtx.optax.{own}") is not getattr(real, own), own


def test_names_of_parts_are_the_same_objects_wherever_they_are_read():
    assert optax.schedules.cosine_decay_schedule is optax.cosine_decay_schedule
    assert optax.transforms.trace is optax.trace
    assert optax.schedules.inject_hyperparams is optax.inject_hyperparams
    assert optax.multi_transform is optax.partition


@pytest.mark.parametrize(
    "call", ["adam(0.1, mu_dtype='float64')", "sgd(0.1, momentum=1.5)", "scale_by_lion(mode='smooth')"]
)
def test_what_gradtx_lacks_makes_a_value_of_optaxs_own(call):
    tx = make(call, optax)
    assert isinstance(tx, gx.Transformation)
    assert repr(tx) == call.replace("adam(", "adam(learning_rate=", 1).replace("sgd(", "sgd(learning_rate=", 1)
    assert any(not isinstance(node.tx, gx.Transformation) for node in walk(tx))


def test_a_wrong_call_is_refused_with_gradtxs_message():
    with pytest.raises(TypeError, match="adam: unknown argument 'learnin_rate'; it takes learning_rate, b1"):
        optax.adam(learnin_rate=0.1)
    with pytest.raises(TypeError, match="adam: learning_rate must be a number, a scalar array or a schedule, got str"):
        optax.adam("0.1")
    with pytest.raises(TypeError, match=r"chain: args\[0\] must be a transformation, got a function; call it: adam"):
        optax.chain(optax.adam)
    with pytest.raises(ValueError, match=r"must have different names, got \['a', 'a'\]"):
        optax.named_chain(("a", optax.sgd(0.1)), ("a", optax.sgd(0.1)))
    with pytest.raises(ValueError, match=r"param_labels has \[\"'c'\"\], transforms has \['a'\]"):
        optax.partition({"a": optax.sgd(0.1)}, {"w": "a", "b": "c", "n": "a"}).init(PARAMS)
