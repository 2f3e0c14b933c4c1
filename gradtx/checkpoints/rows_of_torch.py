"""torch's names for what is in gradtx's states, and what is refused because it means something else."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from gradtx.optimizers.adadelta import ScaleByAdadeltaState
from gradtx.optimizers.adafactor import ScaleByFactoredRmsState
from gradtx.optimizers.adagrad import ScaleByRssState
from gradtx.optimizers.adam import ScaleByAdamState
from gradtx.optimizers.adamax import ScaleByAdamaxState
from gradtx.optimizers.amsgrad import ScaleByAmsgradState
from gradtx.optimizers.asgd import _lower_rate, _mean_from
from gradtx.optimizers.nadam import ScaleByNadamState
from gradtx.optimizers.radam import ScaleByRadamState
from gradtx.optimizers.rprop import ScaleByRpropState
from gradtx.transforms.average import AverageParametersState
from gradtx.transforms.momentum import ScaleByMomentumState
from gradtx.transforms.rms import ScaleByRmsState

TorchGroup = Mapping[str, Any]  # one of torch's `param_groups`


class TorchRow(NamedTuple):
    """What torch has for a state of gradtx's."""

    fields: dict[str, str]  # its names of the fields, one array for each parameter
    numbers: dict[str, Callable[[TorchGroup], Any]]  # the hyperparameters, in a group of parameters
    mark: str  # an argument of torch's optimizer that tells it from others with such fields
    shared: Mapping[str, str] = MappingProxyType({})  # its names of scalars
    unlike: tuple[str, ...] = ()  # arguments of others with the mark
    derived: tuple[str, ...] = ()  # its scalars that follow from the count
    is_optional: bool = False  # whether the part may stand behind any optimizer, and starts anew but with this one
    has_rate: bool = False  # whether the part takes the step itself
    refusal: Callable[[Any], str] = lambda tx: ""  # why a transformation means something else by these fields


def is_of_muon(group: TorchGroup) -> bool:
    return "ns_steps" in group


def is_of_adafactor(group: TorchGroup) -> bool:
    return "beta2_decay" in group


def without_nesterov(tx: Any) -> str:
    return "torch has no Adam with nesterov; its NAdam is momentum_decay=4e-3" if tx.nesterov else ""


def with_maximum_first(tx: Any) -> str:
    if tx.debias and not tx.debias_first:
        return ""
    return "torch's max_exp_avg_sq is the largest exp_avg_sq, corrected behind that; leave out debias and debias_first"


def without_hat(tx: Any) -> str:
    return "" if tx.eps_hat else "torch's epsilon stands beside the uncorrected root; take eps_hat=True"


def with_another_mean(tx: Any) -> str:
    is_same = getattr(tx.decay, "recipe", None) is _mean_from
    return "" if is_same else "torch's ax is the mean behind t0 updates; take asgd, whose average that is"


BETAS: dict[str, Callable[[TorchGroup], Any]] = dict(
    b1=lambda group: group["betas"][0], b2=lambda group: group["betas"][1]
)
EPS: dict[str, Callable[[TorchGroup], Any]] = dict(eps=lambda group: group["eps"])
MOMENTS = dict(mu="exp_avg", nu="exp_avg_sq")

# The numbers inside of the schedules of `asgd`, with its names of them and torch's.
OF_ASGD: dict[Any, dict[str, tuple[str, str]]] = {
    _lower_rate: dict(rate=("learning_rate", "lr"), decay=("weight_decay", "lambd"), power=("power", "alpha")),
    _mean_from: dict(start=("start", "t0")),
}
TORCH_ROWS: dict[type[Any], TorchRow] = {
    ScaleByMomentumState: TorchRow(
        dict(trace="momentum_buffer"),
        dict(
            decay=lambda group: group["momentum"],
            nesterov=lambda group: group.get("nesterov", False),
            dampening=lambda group: group["momentum"] if is_of_muon(group) else group.get("dampening", 0.0),
        ),
        mark="momentum",
    ),
    ScaleByRmsState: TorchRow(
        dict(nu="square_avg", mu="grad_avg"), EPS | dict(decay=lambda group: group["alpha"]), mark="centered"
    ),
    ScaleByRssState: TorchRow(dict(sum_of_squares="sum"), EPS, mark="lr_decay"),
    ScaleByAdadeltaState: TorchRow(
        dict(e_g="square_avg", e_x="acc_delta"), EPS | dict(decay=lambda group: group["rho"]), mark="rho"
    ),
    ScaleByAdamState: TorchRow(MOMENTS, BETAS | EPS, mark="amsgrad", refusal=without_nesterov),
    ScaleByAmsgradState: TorchRow(
        MOMENTS | dict(nu_max="max_exp_avg_sq"), BETAS | EPS, mark="amsgrad", refusal=with_maximum_first
    ),
    ScaleByNadamState: TorchRow(
        MOMENTS,
        BETAS | EPS | dict(momentum_decay=lambda group: group["momentum_decay"]),
        mark="momentum_decay",
        shared=dict(product="mu_product"),
    ),
    ScaleByRadamState: TorchRow(
        MOMENTS,
        BETAS | EPS | dict(threshold=lambda group: 5),
        mark="decoupled_weight_decay",
        unlike=("amsgrad", "momentum_decay"),
        refusal=without_hat,
    ),
    ScaleByRpropState: TorchRow(
        dict(step_sizes="step_size", prev_updates="prev"),
        dict(
            shrink=lambda group: group["etas"][0],
            grow=lambda group: group["etas"][1],
            min_step=lambda group: group["step_sizes"][0],
            max_step=lambda group: group["step_sizes"][1],
        ),
        mark="etas",
        has_rate=True,
    ),
    AverageParametersState: TorchRow(
        dict(average="ax"), {}, mark="t0", derived=("eta", "mu"), is_optional=True, refusal=with_another_mean
    ),
    ScaleByFactoredRmsState: TorchRow(  # whose fields are in another form
        {}, dict(decay_rate=lambda group: -group["beta2_decay"]), mark="beta2_decay"
    ),
    ScaleByAdamaxState: TorchRow(
        dict(mu="exp_avg", nu="exp_inf"),
        BETAS | dict(eps_max=lambda group: group["eps"], eps=lambda group: 0.0),
        mark="betas",
    ),
}
