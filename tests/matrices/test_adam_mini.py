"""Adam-mini, whose second moment is one for a block of elements."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from tests.optimizers.test_factored import GRADS, assert_equal, count_numbers, run
from tests.printed import golden
from tests.reference import factored

pytestmark = pytest.mark.slow  # formulas do not turn on versions

formulas = pytest.mark.slow  # they do not turn on versions


@formulas
@pytest.mark.parametrize(
    ("share", "axes"),
    [
        (-2, lambda n: (n - 2,) if n > 1 else ()),
        (-1, lambda n: (n - 1,) if n > 0 else ()),
        ((-3, -1), lambda n: (n - 3, n - 1) if n > 2 else ()),
        (None, lambda n: tuple(range(n))),
        ((), lambda n: ()),
    ],
)
def test_adam_mini(share, axes):
    tx = gx.scale_by_adam_mini(0.8, 0.9, 1e-3, share=share)

    def block(name):
        return factored.adam_mini(GRADS[name], axes(GRADS[name].ndim - 1), 0.8, 0.9, 1e-3)

    assert_equal(run(tx, moves=False), block)


@formulas
@pytest.mark.parametrize("share", [-2, -1, (-3, -1)])
@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 3, 4)], ids=str)
def test_the_parts_of_a_complex_array_share_nothing(share, shape):
    real, imaginary = np.random.default_rng(3).normal(size=(2, 4, *shape))
    tx = gx.scale_by_adam_mini(share=share)

    def outputs(grads):
        g = jnp.asarray(grads)
        return jax.lax.scan(lambda state, g: tx.update(g, state)[::-1], tx.init(g[0]), g)[1]

    np.testing.assert_allclose(
        outputs(real + 1j * imaginary), outputs(real) + 1j * outputs(imaginary), rtol=1e-11, atol=1e-13
    )


@formulas
@pytest.mark.parametrize(("share", "expected"), [(-2, 5.1087006434), (None, 5.0374823029)])
def test_golden(share, expected):
    # The author's matrix has outputs in rows, a kernel of JAX has them in columns.
    np.testing.assert_allclose(golden(gx.scale_by_adam_mini(share=share), transposed=True), expected, rtol=1e-10)


@pytest.mark.parametrize(("share", "blocks"), [(-2, 30), (None, 1), ((), 600), (-1, 20)])
def test_how_much_is_kept(share, blocks):
    assert count_numbers(gx.scale_by_adam_mini(share=share), (20, 30)) == 1 + 600 + blocks


@formulas
def test_a_block_of_one_element_is_adam():
    tx = gx.scale_by_adam_mini(0.8, 0.9, share=())
    adam = run(gx.scale_by_adam(0.8, 0.9), moves=False)
    for name, x in run(tx, moves=False).items():
        np.testing.assert_allclose(x, adam[name], rtol=1e-12)


@formulas
def test_selectors_say_which_axes_share():
    params = {"embed": jnp.ones((9, 4)), "query": jnp.ones((4, 2, 3)), "kernel": jnp.ones((4, 5)), "bias": jnp.ones(5)}
    share = ((gx.by_path("embed"), -1), (gx.by_path("query|key"), (-3, -1)), (gx.by_path("absent"), None))
    tx = gx.adam_mini(0.1, share=share)
    embed, query, _, others = tx.init(params)[0]
    assert embed.nu["embed"].shape == (9, 1)
    assert query.nu["query"].shape == (1, 2, 1)
    assert others.nu["kernel"].shape == (1, 5)
    assert others.nu["bias"].shape == (5,)
    assert "share=(-3, -1)" in str(gx.explain(tx, params))
    alone = gx.adam_mini(0.1, share=-1)
    g = jax.tree.map(lambda p: jnp.cos(jnp.arange(p.size, dtype=float)).reshape(p.shape), params)
    together, _ = tx.update(g, tx.init(params), params)
    one, _ = alone.update(g["embed"], alone.init(params["embed"]), params["embed"])
    np.testing.assert_allclose(together["embed"], one, rtol=1e-12)


@pytest.mark.parametrize("share", [-2, None])
@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (0, 3), (3, 0), (0,), (), (1, 1)])
def test_any_shape_stays_finite(share, shape):
    for fill in (0.0, 1.0):
        g = jnp.full(shape, fill, jnp.float32)
        tx = gx.adam_mini(0.1, share=share)
        updates, state = tx.update(g, tx.init(g), g)
        assert updates.shape == shape
        assert all(np.isfinite(x).all() for x in jax.tree.leaves((updates, state)))


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (
            lambda: gx.scale_by_adam_mini(share=cast(Any, "rows")),
            TypeError,
            "share must be an axis, a tuple of axes, or None",
        ),
        (
            lambda: gx.scale_by_adam_mini(share=0),
            ValueError,
            "share must be different axes counted from",
        ),
        (lambda: gx.adam_mini(0.1, share=(-1, -1)), ValueError, "share must be different axes counted from the last"),
        (
            lambda: gx.adam_mini(0.1, share=((gx.by_path("w"),),)),
            TypeError,
            r"share must be axes, or a tuple of pairs \(selector, axes\), got",
        ),
        (
            lambda: gx.adam_mini(0.1, share=((gx.by_path("w"), 0),)),
            ValueError,
            r"share\[0\]\[1\] must be",
        ),
        (lambda: gx.adam_mini(0.1, share=((3, -1),)), TypeError, r"share\[0\]\[0\] must be"),
    ],
)
def test_bad_input(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


def test_configurations_hold_axes():
    for tx in (
        gx.adam_mini(0.1, share=((gx.by_path("embed"), -1), (gx.by_path("query"), (-3, -1)))),
        gx.adam_mini(0.1, share=(-3, -1)),
        gx.scale_by_adam_mini(share=None),
    ):
        assert gx.from_config(gx.to_config(tx)) == tx
