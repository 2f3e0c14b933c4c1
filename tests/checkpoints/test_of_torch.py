"""States of torch's optimizers, recorded in the middle of their paths, go on here to where torch came."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.golden import torch_rows
from tests.golden.record_states import MIDDLE, state_dicts
from tests.golden.torch_rows import FALLING
from tests.optimizers.test_parity_golden import recorded
from tests.problems import START, apart, gradient
from tests.refusals import refused
from tests.row import BOUND

ROWS = torch_rows.TAKEN_OVER
PATHS = ("quadratic", "rosenbrock", "network")
NAMES = dict(zip(PATHS, range(3), strict=True))


@functools.cache
def states():
    return state_dicts()


def parameters_at(call, step):
    known = recorded("torch")
    vector = known.paths[call][list(known.steps).index(step)]
    return dict(zip(PATHS, np.split(vector, np.cumsum([x.size for x in START])[:-1]), strict=True))


def taken_over(call, tx=None, names=NAMES, **more):
    tx = ROWS[call].ours if tx is None else tx
    steps = MIDDLE if "SGD" in call else None
    return gx.from_torch(tx, parameters_at(call, MIDDLE), states()[call], names, steps=steps, **more)


def test_every_row_is_recorded():
    assert states().keys() == (ROWS | torch_rows.MATRICES_TAKEN_OVER).keys(), (
        "run: python -m tests.golden.record_states"
    )


@pytest.mark.parametrize("call", ROWS)
def test_goes_on_as_torch_did(call):
    tx, w, state = ROWS[call].ours, parameters_at(call, MIDDLE), taken_over(call)
    assert jax.tree.structure(state) == jax.tree.structure(tx.init(w))

    @jax.jit
    def step(w, state, g):
        updates, state = tx.update(g, state, w)
        return gx.apply_updates(w, updates), state

    for _ in range(MIDDLE, 10):
        w, state = step(w, state, dict(zip(PATHS, gradient(tuple(w[name] for name in PATHS)), strict=True)))
    found, expected = (np.concatenate([x[name] for name in PATHS]) for x in (w, parameters_at(call, 10)))
    distances = apart(found, expected)
    assert max(distances.values()) < (max(ROWS[call].apart, BOUND)), distances
    fresh = apart(np.concatenate([parameters_at(call, MIDDLE)[name] for name in PATHS]), expected)
    assert max(fresh.values()) > 1e-4  # those steps do lead somewhere


def test_the_numbers_of_the_last_step_are_known():
    state = taken_over("ExponentialLR(AdamW(w, 1e-3, weight_decay=0.1), 0.95)")
    assert float(gx.find(state, "learning_rate")) == pytest.approx(1e-3 * 0.95 ** (MIDDLE - 1))
    state = taken_over("Adam(w, 1e-2)", gx.adam(gx.controlled(0.5)))
    assert float(gx.find(state, "learning_rate")) == pytest.approx(1e-2)


# ---- names ----

GROUP = dict(params=[0, 1], lr=0.1, momentum=0.9, param_names=["fc.weight", "fc.bias"])
TENSORS = {0: dict(momentum_buffer=np.arange(6.0).reshape(2, 3)), 1: dict(momentum_buffer=np.ones(2))}
MODEL = {"fc": {"kernel": jnp.zeros((3, 2)), "bias": jnp.zeros(2)}}
SGD = gx.sgd(0.1, momentum=0.9)
BY_NAME = {"fc/kernel": ("fc.weight", lambda x: x.T), "fc/bias": "fc.bias"}


def dict_of(state=TENSORS, **group):
    return dict(state=state, param_groups=[GROUP | group])


def test_an_array_may_lie_otherwise_and_be_called_by_its_name():
    trace = gx.find(gx.from_torch(SGD, MODEL, dict_of(), BY_NAME), "trace")["fc"]
    np.testing.assert_array_equal(trace["kernel"], TENSORS[0]["momentum_buffer"].T)
    np.testing.assert_array_equal(trace["bias"], np.ones(2))


def test_tensors_are_turned_into_arrays():
    class Tensor:
        """As torch's in what is used of it: bfloat16 has no NumPy array."""

        def __init__(self, x, dtype):
            self.x, self.dtype = x, dtype

        def detach(self):
            return self

        cpu = detach

        def float(self):
            return Tensor(self.x.astype(np.float32), "torch.float32")

        def __array__(self, *_, **__):
            assert self.dtype != "torch.bfloat16"
            return self.x

    state = {i: dict(momentum_buffer=Tensor(x["momentum_buffer"], "torch.bfloat16")) for i, x in TENSORS.items()}
    trace = gx.find(gx.from_torch(SGD, MODEL, dict_of(state), BY_NAME), "trace")["fc"]
    np.testing.assert_array_equal(trace["kernel"], TENSORS[0]["momentum_buffer"].T)


def test_an_array_without_a_gradient_so_far_starts_anew_where_that_is_said():
    state = {0: TENSORS[0], 1: dict(momentum_buffer=None)}
    message = (
        "from_torch: torch has no momentum_buffer of fc/bias; give them in names, or in fresh where they never had a "
        "gradient"
    )
    with refused(ValueError, message):
        gx.from_torch(SGD, MODEL, dict_of(state), BY_NAME)
    trace = gx.find(gx.from_torch(SGD, MODEL, dict_of(state), BY_NAME, fresh=["fc/bias"]), "trace")
    np.testing.assert_array_equal(trace["fc"]["bias"], np.zeros(2))


def test_groups_and_wrappers_take_their_own_arrays():
    adam = dict(params=[1], lr=0.2, betas=(0.9, 0.999), eps=1e-8, amsgrad=False)
    moments = dict(step=3.0, exp_avg=np.ones(2), exp_avg_sq=np.full(2, 4.0))
    given = dict(state={0: TENSORS[0], 1: moments}, param_groups=[dict(params=[0], lr=0.1, momentum=0.9), adam])
    tx = gx.skip_nonfinite(gx.partition((gx.by_path("kernel"), SGD), default=gx.accumulate(gx.adam(0.2), 2)))
    state = gx.from_torch(tx, MODEL, given, {"fc/kernel": (0, np.transpose), "fc/bias": 1})
    np.testing.assert_array_equal(gx.find(state, "trace")["fc"]["kernel"], TENSORS[0]["momentum_buffer"].T)
    np.testing.assert_array_equal(gx.find(state, "nu")["fc"]["bias"], moments["exp_avg_sq"])


def test_each_step_of_torch_was_a_window():
    tx = gx.accumulate(gx.adam(1e-2), gx.piecewise_constant((2,), (1, 4)))
    state = taken_over("Adam(w, 1e-2)", tx)
    assert (int(state.mini_step), int(state.count), int(state.steps)) == (0, MIDDLE, 4)
    assert int(gx.find(state.inner_state, "0/count")) == MIDDLE
    reached = tx.init(parameters_at("Adam(w, 1e-2)", MIDDLE))
    for _ in range(2 + 4 * (MIDDLE - 2)):
        _, reached = tx.update(jax.tree.map(jnp.ones_like, reached.acc_grads), reached)
    assert (int(reached.count), int(reached.steps)) == (int(state.count), int(state.steps))
    tx = gx.accumulate(SGD, gx.piecewise_constant((2,), (1, 4)))
    with refused(ValueError, "from_torch: the state counts no updates, and accumulate needs that number"):
        gx.from_torch(tx, MODEL, dict_of(), BY_NAME)


# ---- what is refused ----


@pytest.mark.parametrize(
    ("call", "tx", "message"),
    [
        (
            "Adam(w, 1e-2, amsgrad=True)",
            gx.amsgrad(1e-2, debias_first=True),
            (
                "scale_by_amsgrad: torch's max_exp_avg_sq is the largest exp_avg_sq, corrected behind that; leave out "
                "debias and debias_first"
            ),
        ),
        (
            "Adam(w, 1e-2, amsgrad=True)",
            gx.adam(1e-2),
            (
                "torch has max_exp_avg_sq of quadratic, max_exp_avg_sq of rosenbrock, max_exp_avg_sq of network, for "
                "which the transformation has no place; give the one that has the rule of that optimizer"
            ),
        ),
        (
            "Adam(w, 1e-2)",
            gx.amsgrad(1e-2),
            "torch has no max_exp_avg_sq of network, quadratic, rosenbrock; give them in names, or in fresh where they",
        ),
        (
            "Adam(w, 1e-2)",
            gx.nadam(1e-2),
            "scale_by_adam: torch has no Adam with nesterov; its NAdam is momentum_decay=4e-3",
        ),
        (
            "NAdam(w, 1e-2)",
            gx.adam(1e-2),
            (
                "scale_by_adam: the state is of another optimizer: its group has lr, betas, eps, weight_decay, "
                "momentum_decay, decoupled_weight_decay, maximize, foreach and 3 more, and no amsgrad"
            ),
        ),
        (
            "Adamax(w, 1e-2)",
            gx.adamax(1e-2),
            (
                "torch's eps_max is 1e-08 in the state, and eps_max is 0 in scale_by_adamax; take over with the number "
                "of the state, and change it behind that"
            ),
        ),
        ("Adam(w, 1e-2)", gx.adam(0.5), "lr is 0.01 in the state, and learning_rate is 0.5 in scale_by_learning_rate"),
        ("Adam(w, 1e-2)", gx.lion(1e-2), "scale_by_lion has no counterpart in torch; start it anew with init"),
    ],
)
def test_another_rule_is_refused(call, tx, message):
    with refused(ValueError, f"from_torch: {message}"):
        taken_over(call, tx)


def test_the_schedule_of_a_state_that_counts_no_updates_needs_their_number():
    tx = gx.sgd(gx.linear(0.1, 0.0, 10), momentum=0.9)
    message = "from_torch: the state counts no updates, and scale_by_learning_rate needs that number"
    with refused(ValueError, message):
        gx.from_torch(tx, MODEL, dict_of(), BY_NAME)
    state = gx.from_torch(tx, MODEL, dict_of(), BY_NAME, steps=4)
    assert int(gx.find(state, "count")) == 4
    assert float(gx.find(state, "learning_rate")) == pytest.approx(0.07)


def test_names_that_do_not_fit_are_listed():
    cases = [
        (BY_NAME | {"fc/scale": 0}, "there is no array in params at fc/scale; they have fc/bias, fc/kernel"),
        (
            BY_NAME | {"fc/bias": "bias"},
            "names['fc/bias'] is 'bias', which the optimizer does not have: it has fc.weight, fc.bias, places 0 to 1",
        ),
        ({"fc/bias": 1}, "names lacks fc.weight of torch's parameters, of which the optimizer has a state"),
        ({"fc/bias": 1, "fc/kernel": 1}, "names has 1 of torch's parameters at several paths"),
        (
            BY_NAME | {"fc/kernel": 0},
            (
                "scale_by_momentum's momentum_buffer does not fit: fc/kernel is float64[2, 3], expected float64[3, 2]; "
                "give the parameters that it was made for, in these dtypes"
            ),
        ),
    ]
    model = jax.tree.map(lambda x: x.astype(jnp.float64), MODEL)
    with refused(ValueError, "from_torch: there is no array in params at fc/scale; they have fc/bias, fc/kernel"):
        gx.from_torch(SGD, model, dict_of(), BY_NAME, fresh=["fc/scale"])
    for names, message in cases:
        with refused(ValueError, f"from_torch: {message}"):
            gx.from_torch(SGD, model, dict_of(), names)


def test_no_state_dict_other_counts_and_several_rates_are_refused():
    with refused(TypeError, "from_torch: state_dict must be a dict with state and param_groups, got ['fc.weight']"):
        gx.from_torch(SGD, MODEL, {"fc.weight": 0}, BY_NAME)
    state = {i: x | dict(step=3 + i) for i, x in TENSORS.items()}
    with refused(ValueError, "from_torch: torch has another step for each array, here all have one: fc/kernel 3, fc/"):
        gx.from_torch(SGD, MODEL, dict_of(state), BY_NAME)
    groups = [
        GROUP | dict(params=[0], param_names=["fc.weight"]),
        GROUP | dict(params=[1], param_names=["fc.bias"], lr=0.2),
    ]
    several = dict(state=TENSORS, param_groups=groups)
    for rate in (0.1, gx.controlled(0.1), FALLING):
        message = (
            "from_torch: torch's groups have the rates 0.1 for fc/kernel, 0.2 for fc/bias, and scale_by_learning_rate"
        )
        with refused(ValueError, f"{message} has one for all; give each its own by partition"):
            gx.from_torch(gx.sgd(rate, momentum=0.9), MODEL, several, BY_NAME, steps=1)
    for tx in (
        gx.partition((gx.by_path("kernel"), SGD), default=gx.sgd(0.2, momentum=0.9)),
        gx.chain(SGD, gx.masked(gx.scale(2.0), gx.by_path("bias"))),
        gx.chain(SGD, gx.scale_by_tree({"fc": {"kernel": 1.0, "bias": 2.0}})),
    ):
        gx.from_torch(tx, MODEL, several, BY_NAME)


def test_arguments_of_another_kind_are_refused():
    for names in (None, ["fc.weight"]):
        message = f"names must be a dict, got {type(names).__name__}; give torch's parameter for each array by its path"
        with refused(TypeError, f"from_torch: {message}"):
            gx.from_torch(SGD, MODEL, dict_of(), names)  # pyright: ignore[reportArgumentType]
    message = "names['fc/kernel'] must be a name, a place, or a pair (name, function), got ('fc.weight',)"
    with refused(TypeError, f"from_torch: {message}"):
        gx.from_torch(SGD, MODEL, dict_of(), BY_NAME | {"fc/kernel": ("fc.weight",)})  # pyright: ignore[reportArgumentType]
    with refused(TypeError, "from_torch: fresh must be several paths, got a string; give ['b']"):
        gx.from_torch(SGD, {"b": jnp.zeros(2)}, dict_of({}), {"b": 1}, fresh="b")


def test_floats_are_converted():
    model = jax.tree.map(lambda x: x.astype(jnp.float32), MODEL)
    trace = gx.find(gx.from_torch(SGD, model, dict_of(), BY_NAME), "trace")["fc"]
    assert trace["kernel"].dtype == jnp.float32
    np.testing.assert_array_equal(trace["kernel"], TENSORS[0]["momentum_buffer"].T)
    complex_ones = {i: dict(momentum_buffer=x["momentum_buffer"] + 0j) for i, x in TENSORS.items()}
    with refused(ValueError, "fc/kernel is complex128[3, 2], expected float32[3, 2]"):
        gx.from_torch(SGD, model, dict_of(complex_ones), BY_NAME)
