"""Transformations in a subspace, and GaLore: the formula, its peers, what is computed when, and what is seen inside."""

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from gradtx.matrices import subspace
from tests.matrices.low_rank import GRADS, START, assert_equal, number_of, outputs, outputs_of_all
from tests.printed import GRADS_M
from tests.reference import blocks, low_rank
from tests.refusals import refused

pytestmark = pytest.mark.slow  # formulas do not turn on versions
ADAM = gx.scale_by_adam(eps=1e-6, eps_hat=True)
TURNED = GRADS_M[[1, 2, 0]]  # the first golden gradient has two equal singular values
G = jax.random.normal(jax.random.key(0), (6, 3, 5))


# ---- numbers of others ----


def test_golden_number_of_the_author():
    assert number_of(gx.galore(0.1, 1, scale=1.0), TURNED) == pytest.approx(7.1096839461, abs=5e-11)


def test_the_longer_side_is_optax(monkeypatch):
    ours = gx.chain(gx.in_subspace(gx.scale_by_adam(), 1, longer=True), gx.scale_by_learning_rate(0.1))
    # It was printed in float32, whose last digits turn on the processor.
    assert number_of(ours, TURNED) == pytest.approx(7.2233346513, abs=1e-6)

    def first_directions(g, before, longer):  # Optax's are computed in float32
        return found(g.astype(jnp.float32), before.astype(jnp.float32), longer).astype(g.dtype)

    found = subspace.first_directions
    monkeypatch.setattr(subspace, "first_directions", first_directions)
    with jax.disable_jit():  # no program with these directions stays
        theirs: Any = optax.contrib.galore(0.1, rank=1)
        assert number_of(ours, TURNED) == pytest.approx(number_of(theirs, TURNED), abs=1e-12)


# ---- the formula ----


@pytest.mark.parametrize("longer", [False, True])
def test_it_equals_its_formula(longer):
    def formula(name):
        return low_rank.in_subspace(GRADS[name], low_rank.adam, 2, 7, longer)

    assert_equal(outputs_of_all(gx.in_subspace(ADAM, 2, 7, longer=longer)), formula, 1e-9)


def test_any_elementwise_transformation_may_be_inside_optax_too():
    grads = GRADS["wide"]
    for tx, formula in (
        (gx.scale_by_momentum(0.9), lambda g: blocks.momentum(g, 0.9)),
        (optax.trace(0.9), lambda g: blocks.momentum(g, 0.9)),
    ):
        ours = outputs(gx.in_subspace(tx, 2, 5), grads, START["wide"])
        theirs = np.stack(list(low_rank.in_subspace(grads, formula, 2, 5)))
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3)])
def test_at_full_rank_it_is_adam_in_a_rotated_basis(shape):
    grads = jax.random.normal(jax.random.key(1), (5, *shape))
    ours = outputs(gx.in_subspace(ADAM, 3 if shape != (4, 4) else 4, 9), grads, jnp.zeros(shape))
    u, _, vt = jnp.linalg.svd(grads[0], full_matrices=False)
    if shape[0] <= shape[1]:
        theirs = u @ outputs(ADAM, u.T @ grads, jnp.zeros(shape))
    else:
        theirs = outputs(ADAM, grads @ vt.T, jnp.zeros(shape)) @ vt
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_directions_change_at_every_kth_update_and_what_is_inside_stays():
    tx = gx.in_subspace(gx.scale_by_momentum(1.0), 2, 2)
    state, sides = tx.init(G[0]), []
    sum_inside = jnp.zeros((2, 5))
    for g in G:
        _, state = tx.update(g, state)
        sides.append(state.projection)
        sum_inside = sum_inside + state.projection.T @ g
        np.testing.assert_allclose(state.inner_state.trace, sum_inside, rtol=1e-12)
    changes = [bool(jnp.any(a != b)) for a, b in pairwise(sides)]
    assert changes == [False, True, False, True, False]
    for side, g in zip(sides[::2], G[::2], strict=True):
        np.testing.assert_allclose(side.T @ side, np.eye(2), atol=1e-6)
        best = jnp.sqrt(jnp.sum(jnp.linalg.svd(g)[1][:2] ** 2))
        np.testing.assert_allclose(jnp.linalg.norm(side.T @ g), best, rtol=1e-6)


def test_a_direction_is_on_the_side_of_its_predecessor():
    tx = gx.in_subspace(gx.scale_by_momentum(0.9), 2, 1)
    _, state = tx.update(G[0], tx.init(G[0]))
    turned = state._replace(projection=state.projection * jnp.array([[-1.0, 1.0]]))
    _, after = tx.update(G[0], turned)
    np.testing.assert_allclose(after.projection, turned.projection, rtol=1e-6)


def test_under_a_schedule_the_number_of_the_step_counts():
    tx = gx.in_subspace(gx.scale_by_sign(), 1, gx.piecewise_constant((3,), (2, 100)))
    state, sides = tx.init(G[0]), []
    for g in G:
        _, state = tx.update(g, state)
        sides.append(state.inner_state.projection)
    changes = [bool(jnp.any(a != b)) for a, b in pairwise(sides)]
    assert changes == [False, True, False, False, False]


# ---- what is seen inside ----


def test_parameters_are_projected_too():
    w = jnp.arange(15.0).reshape(3, 5)
    tx = gx.in_subspace(gx.add_decayed_weights(0.5), 2)
    u, state = tx.update(G[0], tx.init(w), w)
    np.testing.assert_allclose(u, state.projection @ state.projection.T @ (G[0] + 0.5 * w), rtol=1e-6)


def test_what_is_frozen_or_absent_stays_so():
    tx = gx.chain(gx.freeze(gx.by_path("still")), gx.in_subspace(gx.adamw(0.1), 2))
    w = {"w": G[0], "still": G[1], "none": None}
    u, _ = tx.update(w, tx.init(w), w)
    np.testing.assert_array_equal(u["still"], 0.0)
    assert u["none"] is None
    assert np.abs(u["w"]).max() > 0.01
    inside = gx.in_subspace(gx.only(gx.sgd(0.1), gx.by_path("w")), 2)
    u, _ = inside.update(w, inside.init(w), w)
    np.testing.assert_array_equal(u["still"], 0.0)


def test_a_function_of_the_parameters_has_no_meaning_inside():
    with refused(
        TypeError, "in_subspace: tx takes loss_fn, value_fn, a function of the parameters as they are; put it outside"
    ):
        gx.in_subspace(gx.lbfgs(), 2)


def test_extra_arguments_reach_the_inside():
    tx = gx.in_subspace(gx.reduce_on_plateau(0.5, 1), 2)
    state = tx.init(G[0])
    for _ in range(2):
        u, state = tx.update(G[0], state, value=1.0)
    whole, _ = gx.in_subspace(gx.identity(), 2).update(G[0], gx.in_subspace(gx.identity(), 2).init(G[0]))
    np.testing.assert_allclose(u, 0.5 * whole, rtol=1e-6)


def test_every_part_is_found():
    tx = gx.galore(0.1, 2, others=gx.sgd(0.1))
    w = jnp.ones((3, 5))
    assert gx.find(tx.init(w), "mu").shape == (2, 5)
    assert "scale_by_adam" in str(gx.summary(tx, w))
    assert gx.hyperparameters(gx.in_subspace(ADAM, 2))["tx.b1"] == 0.9


# ---- what a step costs ----


def equations(program, name):
    """How many of a kind there are outside of branches, and inside."""
    outside = inside = 0
    for eqn in program.eqns:
        outside += eqn.primitive.name == name
        for x in jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "jaxpr")):
            if hasattr(x, "jaxpr"):
                own = equations(x.jaxpr, name)
                if eqn.primitive.name == "cond":
                    own = 0, sum(own)
                outside, inside = outside + own[0], inside + own[1]
    return outside, inside


def test_one_factorization_for_all_matrices_of_a_shape_in_a_branch():
    tx = gx.in_subspace(ADAM, 2)
    tree = {name: jnp.ones((3, 5)) for name in "abc"} | {"stack": jnp.ones((2, 3, 5)), "tall": jnp.ones((5, 3))}
    program = jax.make_jaxpr(tx.update)(tree, tx.init(tree), tree)
    assert equations(program.jaxpr, "svd") == (0, 4)  # for CPUs and for others
    assert equations(program.jaxpr, "cond")[0] == 1


def test_a_gradient_of_zeros_makes_no_projection():
    """The next one does, and one that comes where a projection is due leaves the last."""
    tx, zero = gx.in_subspace(gx.identity(), 1, every=2), jnp.zeros((3, 4))
    g, other = zero.at[2].set(1.0), zero.at[1].set(1.0)
    _, state = tx.update(zero, tx.init(zero))
    u, state = tx.update(g, state)
    np.testing.assert_allclose(u, g, atol=1e-12)
    _, state = tx.update(zero, state)
    np.testing.assert_allclose(np.abs(state.projection), [[0.0], [0.0], [1.0]], atol=1e-12)
    u, _ = tx.update(other, state)
    np.testing.assert_allclose(u, zero, atol=1e-12)
