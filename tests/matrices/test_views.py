"""Views: each table row shows what it says, turning back is the inverse, and what has no such view is refused."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import gradtx as gx
from tests.refusals import refused

LAYER, CONV, HEADS, QKV = (8, 4), (3, 3, 8, 4), (8, 2, 5), (8, 3, 2, 5)


@pytest.mark.parametrize(
    ("view", "shape", "shown"),
    [
        (gx.matrices(), LAYER, (8, 4)),
        (gx.matrices(), (12, 8, 4), (12, 8, 4)),
        (gx.matrices(reduce=1, output=0), LAYER, (4, 8)),
        (gx.matrices(reduce=(0, 1, 2), output=3), CONV, (72, 4)),
        (gx.matrices(reduce=None, output=-1, batch=()), CONV, (72, 4)),
        (gx.matrices(reduce=(1, 2, 3), output=0), CONV, (96, 3)),
        (gx.matrices(reduce=0, output=2, batch=1), HEADS, (2, 8, 5)),
        (gx.matrices(reduce=0, output=(1, 2)), HEADS, (8, 10)),
        (gx.matrices(reduce=0, output=3), QKV, (3, 2, 8, 5)),
        (gx.matrices(reduce=-1, output=()), (7,), (7, 1)),
    ],
)
def test_what_is_shown(view, shape, shown):
    x = jnp.arange(np.prod(shape), dtype=float).reshape(shape)
    seen = view.show(x)
    assert seen.shape == shown
    np.testing.assert_array_equal(view.turn_back(seen, x), x)


def test_inputs_are_rows_and_outputs_columns():
    x = jnp.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(gx.matrices(reduce=2, output=0, batch=1).show(x)[1], x[:, 1, :].T)
    np.testing.assert_array_equal(gx.matrices(reduce=(2, 0), output=1).show(x)[:, 1], x[:, 1, :].T.ravel())


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_turning_back_is_the_inverse(data):
    order = data.draw(st.permutations(range(4)))
    cuts = sorted(data.draw(st.lists(st.integers(0, 4), min_size=2, max_size=2)))
    reduce, output, batch = (tuple(order[i:j]) for i, j in zip([0, *cuts], [*cuts, 4], strict=True))
    x = jnp.asarray(np.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5))
    view = gx.matrices(reduce, output, batch)
    np.testing.assert_array_equal(view.turn_back(view.show(x), x), x)


@pytest.mark.parametrize("spec", [("data", None, None), (None, "data", None), (None, None, "data")])
@pytest.mark.parametrize("view", [gx.matrices(reduce=(0, 1), output=2), gx.matrices(reduce=2, output=(1, 0))])
def test_under_explicit_axes_it_comes_back_as_it_lay(view, spec):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    x = jax.device_put(jnp.arange(512.0).reshape(8, 8, 8), NamedSharding(mesh, PartitionSpec(*spec)))

    @jax.jit
    def there_and_back(x):
        return view.turn_back(2.0 * view.show(x), x)

    with jax.set_mesh(mesh):
        back = there_and_back(x)
    assert jax.typeof(back) == jax.typeof(x)
    np.testing.assert_array_equal(back, 2.0 * x)


def test_a_view_is_a_value():
    view = gx.matrices(reduce=(0, 1, 2), output=3)
    assert view == gx.matrices((0, 1, 2), 3)
    assert eval(repr(view), {**vars(gx)}) == view
    assert gx.from_config(gx.to_config(gx.over(view, gx.orthogonalize()))) == gx.over(view, gx.orthogonalize())


def test_bad_views():
    with refused(TypeError, "matrices: reduce must be an axis, or a tuple of axes, got 1.5"):
        gx.matrices(cast(Any, 1.5))
    with refused(ValueError, "matrices: axis 0 is named twice"):
        gx.matrices(0, 0)
    with refused(ValueError, "matrices: output names an axis twice, got (1, 1)"):
        gx.matrices(0, (1, 1))
    with refused(ValueError, "matrices: only one of reduce, output and batch may be None"):
        gx.matrices(None, 1)
    with refused(TypeError, "over: view must be a view, such as matrices(reduce=0, output=1), or a tuple of pairs"):
        gx.over("kernels", gx.orthogonalize())
    with refused(
        TypeError, "over: tx takes loss_fn, value_fn, a function of the parameters as they are; put it outside"
    ):
        gx.over(gx.matrices(), gx.newton())


def test_arrays_that_have_no_such_view():
    conv = gx.over(gx.matrices(reduce=(0, 1, 2), output=3), gx.orthogonalize())
    problem = "matrices(reduce=(0, 1, 2), output=3): an array of shape (8, 4) has no axis 2"
    with refused(ValueError, f"over: params['w']: {problem}"):
        conv.init({"w": jnp.zeros(LAYER)})
    with refused(ValueError, f"over: updates['w']: {problem}"):
        conv.update({"w": jnp.zeros(LAYER)}, conv.init({"w": jnp.zeros(CONV)}))
    with refused(ValueError, "an array of shape (2, 2) is named twice"):
        gx.matrices(reduce=0, output=-2).show(jnp.zeros((2, 2)))
    with refused(ValueError, "axis 2 of an array of shape (2, 2, 2) has no part in it"):
        gx.matrices(reduce=0, output=1, batch=()).show(jnp.zeros((2, 2, 2)))


def test_what_no_selector_takes_is_shown_as_it_is():
    seen = []
    shape_of = gx.record("shapes", lambda u: jnp.float32(seen.append(jax.tree.map(jnp.shape, u)) or 0.0))
    tx = gx.over(((gx.by_path("a"), gx.matrices(reduce=1, output=0)),), shape_of)
    params = {"a": jnp.zeros((2, 3)), "b": jnp.zeros((2, 3)), "c": jnp.zeros(3), "step": None}
    u, _ = tx.update(params, tx.init(params))
    assert seen[-1] == {"a": (3, 2), "b": (2, 3), "c": (3,), "step": None}
    assert jax.tree.map(jnp.shape, u) == jax.tree.map(jnp.shape, params)
