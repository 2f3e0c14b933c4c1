"""What accumulation and guards cost, by XLA's own count on the CPU."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest

import gradtx as gx
from gradtx.values.value import text_of
from tests.budgets import N, cost
from tests.counted import counted

pytestmark = pytest.mark.usefixtures("float32")
newer = pytest.mark.skipif(jax.__version_info__ < (0, 10), reason="older XLA makes temporaries in plain sums")
ADAM = gx.adam(1e-3)
CLIPPED = gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(1e-3))


def flops(step, *arguments):
    analysis: Any = jax.jit(step).lower(*arguments).compile().cost_analysis()
    analysis = analysis[0] if isinstance(analysis, list) else analysis
    return analysis["flops"] / N


@newer
@pytest.mark.parametrize("tx", [gx.adam(1e-3), gx.sgd(1e-3, momentum=0.9), CLIPPED, optax.adamw(1e-3)], ids=text_of)
def test_accumulation_needs_one_copy_and_no_temporary(tx: Any):
    _, before, kept = cost(tx.init, tx.update)
    accumulating = gx.accumulate(tx, 3)
    _, temporary, state = cost(accumulating.init, accumulating.update)
    assert state <= kept + 4.01
    assert temporary <= before + 0.01


@newer
@pytest.mark.parametrize(
    ("tx", "most"),
    [(gx.skip_nonfinite(gx.accumulate(ADAM, 3)), 0.01), (gx.accumulate(gx.skip_nonfinite(ADAM), 3), 4.01)],
    ids=["around", "inside"],
)
def test_a_guard_around_accumulation_copies_nothing_one_inside_the_updates(tx, most):
    _, temporary, state = cost(tx.init, tx.update)
    assert temporary < most
    assert state < 12.01


@newer
def test_a_guard_around_accumulation_in_few_bytes_makes_no_branch_of_its_own():
    """Its temporaries are those without it: what is held decides by itself, as what it holds does."""
    held = gx.hold(gx.accumulate(ADAM, 3), acc_grads=gx.bfloat16(stochastic=False))
    tx = gx.skip_nonfinite(held)
    temporaries = [cost(x.init, x.update)[1] for x in (held, tx)]
    assert temporaries[1] <= temporaries[0] + 0.01
    w = jnp.ones(N)
    assert str(jax.make_jaxpr(tx.update)(w, tx.init(w), w)).count("cond[") == 1


@pytest.mark.parametrize("inner", [gx.adam(1e-3), CLIPPED, gx.scale_by_lbfgs(3)], ids=text_of)
def test_in_the_midst_of_a_window_only_the_mean_is_computed(inner):
    tx, w = gx.accumulate(inner, 4), jnp.ones(N)
    state = tx.init(w)

    def midst(g, mean, inner_state, w):
        now = state._replace(mini_step=jnp.array(1), acc_grads=mean, inner_state=inner_state)
        return tx.update(g, now, w)

    assert flops(midst, w, w, state.inner_state, w) <= 3.01  # the difference from the mean, its share, the sum
    assert flops(inner.update, w, inner.init(w), w) > 9.0


def test_the_inner_one_runs_once_in_a_window():
    noted, runs = counted()
    tx = gx.accumulate(gx.chain(noted, gx.sgd(0.1)), 3)
    for step in (tx.update, jax.jit(tx.update)):
        state = tx.init(jnp.ones(2))
        runs.clear()
        for _ in range(7):
            _, state = step(jnp.ones(2), state)
        jax.effects_barrier()
        assert len(runs) == 2


@newer
@pytest.mark.parametrize(
    "tx",
    [gx.adam(1e-3), gx.sgd(1e-3), gx.sgd(1e-3, momentum=0.9, nesterov=True), gx.amsgrad(1e-3), optax.adam(1e-3)],
    ids=text_of,
)
@pytest.mark.parametrize("guarded", [gx.skip_nonfinite, gx.skip_spikes])
def test_a_guard_reads_the_gradients_once_more_and_copies_the_updates(guarded: Any, tx: Any):
    accessed, temporary, state = cost(tx.init, tx.update)
    now = cost(guarded(tx).init, guarded(tx).update)
    assert now[0] <= accessed + 12.1
    assert now[1] <= temporary + 4.01
    assert now[2] <= state + 0.01
