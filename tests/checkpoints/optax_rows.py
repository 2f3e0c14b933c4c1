"""Transformations of Optax and of gradtx that go on from each other's states. Both are given gradtx's schedules: those
of Optax divide a count in float32.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import gradtx as gx

FALLING = gx.cosine(1e-2, 40, floor=1e-3)
RISING = gx.linear(0.5, 0.9, 30)
PARAMS: Any = {"body": {"w": jnp.full((2, 3), 0.5, float), "b": jnp.arange(3.0)}, "head": jnp.array([1.0, -2.0])}
WHOLE = {"body": {"w": True, "b": False}, "head": True}  # a mask with an answer for each array
LABELS = {"body": {"w": "slow", "b": "fast"}, "head": "slow"}
BY_FORM = {"body": {"w": "slow", "b": "fast"}, "head": "fast"}
INSIDE: dict[str, Any] = dict(eps=0.0, eps_root=1e-8)
FACTORED = "scale_by_factored_rms(True, 0.8, 0, 2, decay_rate_fn=exactly), clip_by_block_rms(1.0)"
SUBSPACE = gx.chain(
    gx.in_subspace(gx.scale_by_adam(), 1, longer=True), gx.add_decayed_weights(0.1), gx.scale_by_learning_rate(1e-2)
)


def later(count: Any) -> Any:
    return FALLING(count + 1)


def with_wide_counts(tx: Any) -> Any:
    """Optax's transformation, which takes roots of its counts: of int32 they would be in float32."""

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        wide = jax.tree.map(lambda x: x.astype(jnp.int64) if x.dtype == jnp.int32 else x, state)
        out, after = tx.update(updates, wide, params)
        return out, jax.tree.map(lambda x, old: x.astype(old.dtype), after, state)

    return optax.GradientTransformation(tx.init, update)


def with_broadcasts(tx: Any) -> Any:
    """Optax's transformation, which multiplies arrays by arrays of one element."""

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        with jax.numpy_rank_promotion("allow"):
            return tx.update(updates, state, params)

    return optax.GradientTransformation(tx.init, update)


def without_value(tx: Any) -> Any:
    """Optax's transformation, which takes no `value` for somebody else."""
    return optax.GradientTransformation(tx.init, tx.update)


def params_at(t: int) -> Any:
    """The parameters ahead of a step, whatever the updates are: some rules go by how far they have come."""
    return jax.tree.map(lambda w: w + 0.02 * t * jnp.cos(w + t), PARAMS)


class OptaxPair(NamedTuple):
    theirs: str
    ours: gx.Transformation
    is_made: bool = True  # whether `to_optax` knows the form of this counterpart by itself


PAIRS = [
    OptaxPair("sgd(1e-2)", gx.sgd(1e-2)),
    OptaxPair("sgd(1e-2, 0.9)", gx.sgd(1e-2, 0.9)),
    OptaxPair("sgd(falling, 0.8, nesterov=True)", gx.sgd(FALLING, 0.8, nesterov=True)),
    OptaxPair("rmsprop(1e-3)", gx.rmsprop(1e-3, **INSIDE)),
    OptaxPair("rmsprop(1e-3, initial_scale=1.0)", gx.rmsprop(1e-3, initial=1.0, **INSIDE)),
    OptaxPair("rmsprop(1e-3, bias_correction=True)", gx.rmsprop(1e-3, debias=True, **INSIDE)),
    OptaxPair("rmsprop(1e-3, centered=True)", gx.rmsprop(1e-3, centered=True, **INSIDE)),
    OptaxPair(
        "rmsprop(1e-3, centered=True, bias_correction=True)",
        gx.rmsprop(1e-3, centered=True, debias=True, **INSIDE),
    ),
    OptaxPair(
        "rmsprop(falling, momentum=0.8)",
        gx.chain(gx.scale_by_rms(**INSIDE), gx.scale_by_learning_rate(FALLING), gx.scale_by_momentum(0.8)),
    ),
    OptaxPair(
        "chain(scale_by_rms(), trace(0.8), scale_by_learning_rate(1e-3))", gx.rmsprop(1e-3, momentum=0.8, **INSIDE)
    ),
    OptaxPair("adagrad(0.05)", gx.adagrad(0.05, eps=0.0, eps_root=1e-7, initial=0.1)),
    OptaxPair("adadelta(1.0)", gx.adadelta(1.0)),
    OptaxPair("adam(1e-2)", gx.adam(1e-2)),
    OptaxPair("adam(falling)", gx.adam(FALLING)),
    OptaxPair("adamw(falling, weight_decay=0.1)", gx.adamw(FALLING, weight_decay=0.1)),
    OptaxPair("adamw(1e-2, weight_decay=0.1, mask=whole)", gx.adamw(1e-2, weight_decay=0.1, mask=WHOLE)),
    OptaxPair("nadam(1e-2)", gx.nadam(1e-2)),
    OptaxPair("nadamw(1e-2, weight_decay=0.1)", gx.nadamw(1e-2, weight_decay=0.1)),
    OptaxPair("adamax(1e-2)", gx.adamax(1e-2, eps=0.0, eps_max=1e-8)),
    OptaxPair(
        "adamaxw(1e-2, weight_decay=0.1)",
        gx.adamaxw(1e-2, eps=0.0, eps_max=1e-8, weight_decay=0.1),
    ),
    OptaxPair("radam(1e-2)", gx.radam(1e-2)),
    OptaxPair("yogi(1e-2)", gx.yogi(1e-2)),
    OptaxPair("adabelief(falling)", gx.adabelief(FALLING)),
    OptaxPair("contrib.acprop(falling)", gx.acprop(FALLING)),
    OptaxPair(
        "contrib.acprop(1e-2, weight_decay=0.1)",
        gx.chain(gx.scale_by_acprop(), gx.add_decayed_weights(0.1), gx.scale_by_learning_rate(1e-2)),
    ),
    OptaxPair("novograd(1e-2, weight_decay=0.1)", gx.novograd(1e-2, weight_decay=0.1)),
    OptaxPair("amsgrad(1e-2)", gx.amsgrad(1e-2, debias_first=True)),
    OptaxPair("amsgrad(1e-2, bias_correction_mu=False, bias_correction_nu=False)", gx.amsgrad(1e-2, debias=False)),
    OptaxPair(f"chain({FACTORED}, scale(1e-2), scale(-1))", gx.adafactor(1e-2, 2, relative=False)),
    OptaxPair(f"chain({FACTORED}, scale(1e-2), scale_by_param_block_rms(), scale(-1))", gx.adafactor(1e-2, 2)),
    OptaxPair(
        f"chain({FACTORED}, scale_by_schedule(falling), ema(0.9, False), add_decayed_weights(1e-3), scale(-1))",
        gx.adafactor(FALLING, 2, relative=False, momentum=0.9, weight_decay=1e-3),
    ),
    OptaxPair("sm3(0.05)", gx.sm3(0.05)),
    OptaxPair("sign_sgd(1e-3)", gx.sign_sgd(1e-3)),
    OptaxPair("signum(1e-3, 0.9)", gx.signum(1e-3, 0.9)),
    OptaxPair("lion(1e-3, weight_decay=0.1)", gx.lion(1e-3, weight_decay=0.1)),
    OptaxPair("contrib.ademamix(1e-2, alpha=8.0, weight_decay=0.1)", gx.ademamix(1e-2, alpha=8.0, weight_decay=0.1)),
    OptaxPair("contrib.ademamix(1e-2, b3=rising, alpha=rising)", gx.ademamix(1e-2, b3=RISING, alpha=RISING)),
    OptaxPair("contrib.simplified_ademamix(falling, alpha=10.0)", gx.simplified_ademamix(FALLING, alpha=10.0)),
    OptaxPair("contrib.adopt(falling, nesterov=True)", gx.adopt(FALLING, nesterov=True)),
    OptaxPair(
        "chain(contrib.scale_by_adopt(), add_decayed_weights(0.1), scale_by_learning_rate(1e-2))",
        gx.adopt(1e-2, weight_decay=0.1),
    ),
    OptaxPair("with_wide_counts(contrib.madgrad(1e-2))", gx.madgrad(1e-2)),
    OptaxPair("with_wide_counts(contrib.madgrad(falling))", gx.madgrad(FALLING)),
    OptaxPair(
        "with_wide_counts(contrib.madgrad(falling, weight_decay=0.1))",
        gx.chain(gx.add_decayed_weights(0.1), gx.madgrad(FALLING)),
        is_made=False,  # here a chain in a chain
    ),
    OptaxPair("contrib.dog(init_step=('distance', 0.1))", gx.dog(initial_distance=0.1)),
    OptaxPair("contrib.dog(init_step=('learning_rate', 0.1))", gx.dog(initial_rate=0.1)),
    OptaxPair(
        "contrib.dog(falling, weight_decay=0.1)",
        gx.chain(gx.add_decayed_weights(0.1), gx.scale_by_dog(), gx.scale_by_learning_rate(FALLING)),
    ),
    OptaxPair("contrib.dowg()", gx.dowg()),
    OptaxPair("contrib.dowg(weight_decay=0.1)", gx.chain(gx.add_decayed_weights(0.1), gx.dowg()), is_made=False),
    OptaxPair(
        "chain(with_broadcasts(scale_by_distance_over_gradients(param_dtype=float)), scale(-1.0))",
        gx.chain(gx.scale_by_distance(), gx.scale(-1.0)),
    ),
    OptaxPair("contrib.prodigy(estim_lr0=0.1)", gx.prodigy(d0=0.1, debias=True)),
    OptaxPair("contrib.prodigy(falling, estim_lr0=0.1)", gx.prodigy(FALLING, d0=0.1, debias=True)),
    OptaxPair("contrib.dadapt_adamw(estim_lr0=0.1)", gx.dadapt_adamw(d0=0.1)),
    OptaxPair("polyak_sgd(0.5)", gx.polyak(0.5)),
    OptaxPair("contrib.momo(falling)", gx.momo(FALLING)),
    OptaxPair("contrib.momo(adapt_lower_bound=True)", gx.momo(adapt_lower_bound=True)),
    OptaxPair("contrib.momo_adam(0.1)", gx.momo_adam(0.1)),
    OptaxPair("contrib.momo_adam(falling)", gx.momo_adam(FALLING)),
    OptaxPair("contrib.cocob()", gx.cocob()),
    OptaxPair("contrib.scale_by_cocob()", gx.cocob(), is_made=False),
    OptaxPair("optimistic_gradient_descent(0.1, beta=0.5)", gx.optimistic_gradient_descent(0.1, beta=0.5)),
    OptaxPair("optimistic_adam_v2(falling)", gx.optimistic_adam(FALLING)),
    OptaxPair(
        "chain(scale_by_adam(nesterov=True), scale_by_optimistic_gradient(0.1, 0.2), scale_by_learning_rate(1.0))",
        gx.chain(gx.scale_by_adam(nesterov=True), gx.optimistic(0.1, 0.2), gx.scale_by_learning_rate(1.0)),
    ),
    OptaxPair("lamb(falling, weight_decay=0.1)", gx.lamb(FALLING, weight_decay=0.1)),
    OptaxPair("lars(0.1, weight_decay=0.1)", gx.lars(0.1, weight_decay=0.1)),
    OptaxPair("lars(falling, 0.1, whole, trust_ratio_mask=whole)", gx.lars(FALLING, weight_decay=0.1, mask=WHOLE)),
    OptaxPair("fromage(0.1)", gx.fromage(0.1)),
    OptaxPair("fromage(falling)", gx.fromage(FALLING)),
    OptaxPair(
        "chain(adaptive_grad_clip(0.1), normalize_by_update_norm(), scale_by_param_block_norm(), adam(falling))",
        gx.chain(gx.adaptive_grad_clip(0.1), gx.normalize(), gx.scale_by_parameter_norm(), gx.adam(FALLING)),
    ),
    OptaxPair(
        "chain(contrib.normalize(), scale_by_trust_ratio(), sgd(0.1, 0.9), keep_params_nonnegative())",
        gx.chain(gx.normalize(0.0), gx.trust_ratio(), gx.sgd(0.1, 0.9), gx.keep_nonnegative()),
    ),
    OptaxPair("chain(ema(0.9), sgd(1e-2))", gx.chain(gx.ema(0.9), gx.bias_correction(0.9), gx.sgd(1e-2))),
    OptaxPair(
        "chain(clip(0.5), clip_by_global_norm(1.0), adamw(1e-2))",
        gx.chain(gx.clip_by_value(0.5), gx.clip_by_global_norm(1.0), gx.adamw(1e-2)),
    ),
    OptaxPair(
        "chain(zero_nans(), centralize(), adam(1e-2))", gx.chain(gx.zero_nans(), gx.centralize(axis=0), gx.adam(1e-2))
    ),
    OptaxPair("chain(scale_by_schedule(falling), trace(0.9))", gx.chain(gx.scale(FALLING), gx.scale_by_momentum(0.9))),
    OptaxPair(
        "chain(add_decayed_weights(falling, whole), sgd(1e-2))",
        gx.chain(gx.add_decayed_weights(FALLING, WHOLE), gx.sgd(1e-2)),
    ),
    OptaxPair(
        "chain(add_decayed_weights(falling), sgd(1e-2))", gx.chain(gx.add_decayed_weights(FALLING), gx.sgd(1e-2))
    ),
    OptaxPair(
        "chain(chain(clip(0.5), trace(0.9)), sgd(1e-2))",
        gx.chain(gx.clip_by_value(0.5), gx.scale_by_momentum(0.9), gx.sgd(1e-2)),
        is_made=False,
    ),
    OptaxPair(
        "named_chain(('z', trace(0.9)), ('a', adam(1e-2)))", gx.chain(z=gx.scale_by_momentum(0.9), a=gx.adam(1e-2))
    ),
    OptaxPair("chain(adam(1e-2), freeze(whole))", gx.chain(gx.adam(1e-2), gx.freeze(WHOLE))),
    OptaxPair(
        "chain(masked(trace(0.9), whole), sgd(falling))",
        gx.chain(gx.masked(gx.scale_by_momentum(0.9), WHOLE), gx.sgd(FALLING)),
    ),
    OptaxPair("selective_transform(adam(falling), freeze_mask=whole)", gx.only(gx.adam(FALLING), gx.by_path("b$"))),
    OptaxPair(
        "partition({'slow': adam(1e-2), 'fast': sgd(0.1)}, labels)",
        gx.partition((gx.by_path("b$"), gx.sgd(0.1)), default=gx.adam(1e-2)),
        is_made=False,  # its labels are its own
    ),
    OptaxPair(
        "partition({'slow': lion(1e-3), 'fast': lion(falling)}, labels)",
        gx.partition((gx.by_path("b$"), gx.lion(FALLING)), default=gx.lion(1e-3)),
        is_made=False,
    ),
    OptaxPair("MultiSteps(adam(falling), 3, accumulator_dtype=float)", gx.accumulate(gx.adam(FALLING), 3)),
    OptaxPair("contrib.mechanize(adam(falling), s_init=0.1)", gx.mechanize(gx.adam(FALLING), s_init=0.1)),
    OptaxPair("contrib.schedule_free_sgd(0.1, b1=0.8)", gx.schedule_free_sgd(0.1, 0.8)),
    OptaxPair(
        "contrib.schedule_free_sgd(0.1, weight_decay=0.1)", gx.schedule_free_sgd(0.1, weight_decay=0.1), is_made=False
    ),
    OptaxPair("contrib.schedule_free_adamw(1e-2, weight_decay=0.1)", gx.schedule_free_adamw(1e-2, weight_decay=0.1)),
    OptaxPair("contrib.schedule_free(sgd(falling), falling)", gx.schedule_free(gx.sgd(FALLING), later)),
    OptaxPair(
        "without_value(contrib.sam(adam(falling), chain(contrib.normalize(), sgd(0.05)), 3))",
        gx.sam(gx.adam(FALLING), 0.05, 2, transparent=True),
    ),
    OptaxPair(
        "partition({'slow': contrib.galore(1e-2, 1, weight_decay=0.1), 'fast': sgd(0.1)}, by_form)",
        gx.partition((gx.by_ndim(at_least=2), SUBSPACE), default=gx.sgd(0.1)),
        is_made=False,
    ),
    OptaxPair("apply_if_finite(adam(1e-2), 5)", gx.skip_nonfinite(gx.adam(1e-2), limit=5)),
    OptaxPair(
        "MultiSteps(adam(1e-2), 3, should_skip_update_fn=skip_not_finite, accumulator_dtype=float)",
        gx.skip_nonfinite(gx.accumulate(gx.adam(1e-2), 3)),
        is_made=False,
    ),
    OptaxPair(
        "chain(adam(1e-2), contrib.reduce_on_plateau(0.5, 2))", gx.chain(gx.adam(1e-2), gx.reduce_on_plateau(0.5, 2))
    ),
    OptaxPair("inject_hyperparams(adam)(1e-2, b1=rising)", gx.adam(gx.controlled(1e-2), b1=RISING), is_made=False),
    OptaxPair(
        "inject_hyperparams(adamw)(falling, weight_decay=0.1)", gx.adamw(FALLING, weight_decay=0.1), is_made=False
    ),
    OptaxPair(
        "inject_hyperparams(sgd)(falling, momentum=0.9)", gx.sgd(FALLING, momentum=gx.controlled(0.9)), is_made=False
    ),
    OptaxPair(
        "inject_hyperparams(contrib.ademamix)(falling, b1=0.8)", gx.ademamix(FALLING, gx.controlled(0.9)), is_made=False
    ),
    OptaxPair("inject_hyperparams(contrib.momo_adam)(falling)", gx.momo_adam(FALLING), is_made=False),
    OptaxPair(
        "chain(trace(0.9), scale_by_belief(), scale(-1e-2))",
        gx.chain(gx.scale_by_momentum(0.9), optax.scale_by_belief(), gx.scale(-1e-2)),
    ),
    OptaxPair("chain(trace(0.9), adabelief(1e-2))", gx.chain(gx.scale_by_momentum(0.9), optax.adabelief(1e-2))),
]
NAMES: dict[str, Any] = dict(falling=FALLING, rising=RISING, whole=WHOLE, labels=LABELS, by_form=BY_FORM)
NAMES |= dict(with_wide_counts=with_wide_counts, with_broadcasts=with_broadcasts, without_value=without_value)
NAMES["exactly"] = lambda step, rate: 1.0 - (step + 1.0) ** -rate  # Optax's own is in float32


def counterpart(pair: OptaxPair) -> Any:
    return eval(pair.theirs, vars(optax) | NAMES)


def restored(state: Any) -> Any:
    """What Orbax makes of a state where it has no template."""
    if hasattr(state, "_asdict"):
        fields = {name: restored(x) for name, x in sorted(state._asdict().items())}
        return fields or None
    if isinstance(state, dict):
        return {name: restored(x) for name, x in sorted(state.items())}
    if isinstance(state, tuple | list):
        return [restored(x) for x in state] if jax.tree.leaves(state) or state else state
    return state
