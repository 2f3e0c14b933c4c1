"""Many optimizers trained at once: `vmap` over the value."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gradtx as gx


def test_a_sweep_of_32_rates_and_4_decays_is_128_runs_and_one_compilation():
    x = jnp.linspace(-1.0, 1.0, 32)
    traces = []

    def trained(tx):
        traces.append(tx)

        def step(carry, _):
            w, state = carry
            updates, state = tx.update(
                jax.grad(lambda w: jnp.mean((w[0] * x + w[1] - jnp.sin(3.0 * x) - 0.5) ** 2))(w), state, w
            )
            return (gx.apply_updates(w, updates), state), None

        w = jnp.zeros(2)
        (w, _), _ = jax.lax.scan(step, (w, tx.init(w)), length=40)
        return w

    rates, decays = np.geomspace(1e-4, 1.0, 32), np.array([0.0, 1e-4, 1e-2, 1.0])
    every = jax.vmap(jax.vmap(lambda rate, decay: gx.adamw(rate, weight_decay=decay), (None, 0)), (0, None))(
        rates, decays
    )
    sweep: Any = jax.jit(jax.vmap(jax.vmap(trained)))
    together = sweep(every)
    assert len(traces) == 1
    sweep(jax.tree.map(lambda x: 0.5 * x, every))
    assert sweep._cache_size() == 1

    one: Any = jax.jit(trained)
    for i, rate in enumerate(rates):
        for j, decay in enumerate(decays):
            tx = gx.adamw(rate, weight_decay=decay)
            np.testing.assert_allclose(together[i, j], one(tx), rtol=1e-10, err_msg=repr(tx))
    assert one._cache_size() == 1
