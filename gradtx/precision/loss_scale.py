"""A loss that is scaled up, so that small gradients are numbers of 16 bits too, and scaled back ahead of all else."""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gradtx.core import check
from gradtx.core.count import Count, as_real, increment
from gradtx.core.factories import transformation
from gradtx.core.flow import Flow
from gradtx.core.rule import Part, Rule
from gradtx.core.stage import Fields
from gradtx.core.transformation import start
from gradtx.core.tree import find_state_of
from gradtx.core.walk import writes
from gradtx.values.annotations import Fraction, Initial, Positive, Steps
from gradtx.values.errors import errors_of
from gradtx.wrappers.branch import advance_where, in_form_of
from gradtx.wrappers.guard import all_finite, count_skipped, start_counting


class ScaleLossState(NamedTuple):
    """The state of `scale_loss`.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.scale_loss(gradtx.sgd(0.1))
    >>> _, state = tx.update(jnp.array([jnp.inf]), tx.init(jnp.zeros(1)))
    >>> float(state.scale), int(state.good), int(state.total)
    (32768.0, 0, 1)
    """

    scale: jax.Array  # by which the next loss is to be multiplied
    good: Count  # steps since it changed, or since one was skipped
    skipped: jax.Array  # these three as in SkipNonfiniteState
    total: Count
    in_a_row: Count
    inner_state: Any

    only_measured = ("skipped", "total", "in_a_row")  # no update reads them

    @property
    def metrics(self) -> dict[str, jax.Array]:
        counts = {"skipped": self.skipped, "skipped_total": self.total, "skipped_in_a_row": self.in_a_row}
        return {"loss_scale": self.scale, **counts}


def loss_scale(state: Any) -> jax.Array:
    """The number by which the next loss is to be multiplied, for `scale_loss`, wherever that stands in the state.

    **Raises:** `ValueError` for a state without `scale_loss`, or with several: then hand in that of the one.

    >>> import gradtx, jax.numpy as jnp
    >>> tx = gradtx.chain(gradtx.scale_loss(gradtx.adam(1e-3)))
    >>> float(gradtx.loss_scale(tx.init(jnp.zeros(2))))
    65536.0
    """
    with errors_of("loss_scale"):
        own = find_state_of(ScaleLossState, state)
    return jax.tree.leaves(own.scale)[0]  # in what a framework has put around it


@transformation
def scale_loss(
    tx: optax.GradientTransformation,
    initial: Annotated[Positive, Initial] = 65536.0,
    factor: Positive = 2.0,
    backoff: Fraction = 0.5,
    every: Steps = 2000,
    largest: Positive = 16777216.0,
):
    r"""The transformation of gradients of a loss that was multiplied by the scale $s$, $T(g/s)$. Where an element of
    $g$ is NaN or infinite: zeros, and the state of $T$ bit for bit as it was.

    There the scale falls, $s \leftarrow \max(b s, 1)$; after $k$ steps in a row that were finite it rises,
    $s \leftarrow \min(f s, s_\text{max})$.

    The gradients of `loss(w) * loss_scale(state)` go in. The division is in at least float32 and ahead of all that is
    in `tx`, which sees gradients in float32. With powers of two for numbers, all that is finite comes out as without
    a scale, to the bit. Other arguments of `update`, such as `value`, go on as they come.

    **Arguments:** `tx`, an Optax transformation too; `initial` $s > 0$; `factor` $f > 0$; `backoff` $b \in [0, 1]$;
    `every` $k \ge 1$, steps; `largest` $s_\text{max}$.

    **State:** `scale` $s$, `good`, steps towards $k$, and of the skipped steps `skipped`, `total` and `in_a_row`, as of
    `skip_nonfinite`; that of `tx`. Nothing per parameter. `loss_scale` finds the scale.

    **Source:** Micikevicius et al., Mixed precision training (2018); torch's `GradScaler` has these numbers, but no
    bounds.

    >>> import gradtx, jax, jax.numpy as jnp
    >>> tx, w = gradtx.scale_loss(gradtx.sgd(1.0)), jnp.array([1.0, 2.0], jnp.float16)
    >>> state = tx.init(w)
    >>> for _ in range(2):
    ...     g = jax.grad(lambda w: jnp.sum(w) * loss_scale(state).astype(w.dtype))(w)
    ...     updates, state = tx.update(g, state, w)
    ...     print(updates, loss_scale(state))  # 65536 is infinite in float16
    [0. 0.] 32768.0
    [-1. -1.] 32768.0
    """

    def init(params: Any) -> ScaleLossState:
        scale, good = jnp.array(initial, jnp.result_type(float)), jnp.zeros([], jnp.int32)
        return ScaleLossState(scale=scale, good=good, **start_counting(), inner_state=start(tx, params))

    def advance_scaled(flow: Flow, state: Any, extra: dict[str, Any]) -> ScaleLossState:
        check.require_state(state, ScaleLossState)
        came = flow.updates()
        ok = all_finite(came)

        def unscale(own: Flow) -> None:
            # In float32 from here on: what small gradients are, numbers of 16 bits can't say.
            own.set({i: u.astype(check.promote(u.dtype)) for i, u in enumerate(own.leaves) if u is not None})
            own.then(divide, [state.scale] * len(own.leaves))

        inner_state = advance_where(ok, tx, flow, state.inner_state, extra, "tx", unscale, seldom=True)
        flow.put(in_form_of(came, flow.updates(), exact))
        good = increment(state.good)
        grows = ~(as_real(good) < every)
        grown = jnp.where(grows, jnp.minimum(state.scale * factor, largest), state.scale)
        scale = jnp.where(ok, grown, jnp.maximum(state.scale * backoff, 1.0))
        return ScaleLossState(
            scale=scale.astype(state.scale.dtype),
            good=jnp.where(ok & ~grows, good, 0),
            **count_skipped(state, ok),
            inner_state=inner_state,
        )

    exact = writes(tx)
    return Rule(init, advance_scaled, parts={"tx": Part(tx, ("inner_state",))})


def divide(g: jax.Array, scale: jax.Array) -> tuple[jax.Array, Fields]:
    return g / scale.astype(g.dtype), {}
