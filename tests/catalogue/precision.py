"""States and parameters in few bytes."""

import jax.numpy as jnp

import gradtx as gx
from tests.catalogue.member import Member

PRECISION = [
    Member(gx.hold(gx.scale_by_momentum(0.7), trace=gx.bfloat16(stochastic=False))),
    Member(gx.hold(gx.scale_by_adam(), mu=gx.blocks(8, 4, min_size=0), nu=gx.blocks(8, 4, min_size=0))),
    Member(
        gx.hold(gx.scale_by_adam(), mu=gx.blocks(4, 4, min_size=0), nu=gx.of_root(gx.float8(block=4, min_size=0))),
        once=True,
    ),
    *[
        Member(tx, needs_params=True, writes=True, once=once)
        for tx, once in (
            (gx.write_stochastically(0), False),
            (gx.write_compensated(), False),
            (gx.write_from_master(), False),
            (gx.write_residual(0), False),
            (gx.write_residual(0, bits=16), True),
            (gx.chain(gx.adamw(0.1), gx.write_stochastically(0)), True),
        )
    ],
    Member(gx.write_split(), needs_params=True, writes=True, refuses=(jnp.float16,)),
    # With these numbers the scale rises twice, and the second time only to its bound.
    Member(
        gx.scale_loss(gx.sgd(0.1), 2.0, 3.0, every=1, largest=10.0),
        elementwise=False,
        unused=("backoff", "tx.dampening"),
    ),
]
