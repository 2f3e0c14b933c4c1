"""Rules in the eigenbasis, SOAP among them: formula, golden numbers of the author's code, properties."""

import itertools

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.matrices.runs import close, gradients, orthogonal, run
from tests.printed import GRADS_M, GRADS_V, M, V, after, checksum
from tests.reference import blocks, eigenbases
from tests.refusals import refused

pytestmark = pytest.mark.slow  # formulas do not turn on versions

COLUMN = gx.matrices(reduce=0, output=())


# ---- the formula ----


@pytest.mark.parametrize(("steps", "of_m", "of_v"), [(3, 6.6786804759, 5.7752035687), (6, 3.4902740076, 5.0574691668)])
def test_golden_numbers_of_the_author(steps, of_m, of_v):
    rate = gx.scale_by_learning_rate(0.1)
    assert checksum(after(gx.chain(gx.scale_by_soap(every=1), rate), M, GRADS_M, steps)) == pytest.approx(
        of_m, abs=1e-9
    )
    column = gx.scale_by_soap(every=1, max_dim=1, view=COLUMN)
    assert checksum(after(gx.chain(column, rate), V, GRADS_V, steps)) == pytest.approx(of_v, abs=1e-9)


def test_golden_numbers_with_a_decay_behind_the_step_and_not_at_the_first():
    later = gx.add_decayed_weights(gx.piecewise_constant((1,), (0.0, 0.01)))
    behind = gx.chain(gx.scale(1.0 - 0.1 * 0.01), later, gx.scale_by_learning_rate(0.1))
    assert checksum(after(gx.chain(gx.scale_by_soap(), behind), M, GRADS_M, 6)) == pytest.approx(3.9851083124, abs=1e-9)
    column = gx.scale_by_soap(max_dim=1, view=COLUMN)
    assert checksum(after(gx.chain(column, behind), V, GRADS_V, 6)) == pytest.approx(5.0298733104, abs=1e-9)


# One gradient leaves at most one direction of a side free here: of several the basis would be arbitrary.
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((4, 4), {"every": 3}),
        ((3, 4), {"every": 1}),
        ((5, 4), {"every": 3, "b1": 0.5, "b2": 0.9, "eps": 1e-3}),
        ((5, 4), {"every": 3, "max_dim": 4}),
        ((3, 4), {"every": 2, "max_dim": 3}),
    ],
)
def test_it_is_the_formula(shape, options):
    grads = gradients(36, *shape)
    out, _ = run(gx.scale_by_soap(**options), grads)
    close(out, list(eigenbases.soap(grads, **options)))


def test_the_optimizer_decays_decoupled_and_gives_the_rest_to_others():
    grads = [{"w": g, "b": g[0]} for g in gradients(5, 3, 3)]
    params = {"w": np.ones((3, 3)), "b": np.ones(3)}
    out, _ = run(gx.soap(0.1, every=2, weight_decay=0.5, others=gx.sgd(1.0)), grads, params)
    alone, _ = run(gx.scale_by_soap(every=2), [g["w"] for g in grads])
    close([u["w"] for u in out], [-0.1 * (u + 0.5) for u in alone])
    close([u["b"] for u in out], [-g["b"] for g in grads])


# ---- properties ----


@pytest.mark.parametrize(
    "inner",
    [
        gx.scale_by_lion(),
        gx.chain(gx.ema(0.9), gx.scale_by_rms(0.9)),
        optax.scale_by_adam(),
    ],
    ids=["lion", "chain", "optax"],
)
def test_turned_gradients_give_turned_updates(inner):
    grads, u, v = gradients(12, 4, 5), orthogonal(4, 1), orthogonal(5, 2)
    tx = gx.in_eigenbasis(inner, every=3)
    out, _ = run(tx, grads)
    turned, _ = run(tx, [u @ g @ v for g in grads])
    close(turned, [u @ x @ v for x in out], rtol=1e-9)
    alone, _ = run(inner, grads)
    assert np.abs(np.stack(out) - np.stack(alone)).max() > 0.1, "the basis changes nothing"


def test_with_the_identity_for_bases_it_is_adam_one_step_later():
    grads = gradients(8, 3, 4)
    out, state = run(gx.scale_by_soap(max_dim=1), grads)
    adam, _ = run(gx.scale_by_adam(0.95, 0.95, eps_hat=True), grads[1:])
    close(out, [np.zeros((3, 4)), *adam])
    assert state.left is state.right_basis is None


def test_a_vector_as_a_column_is_adam_one_step_later():
    grads = gradients(8, 5)
    out, _ = run(gx.scale_by_soap(max_dim=4, view=COLUMN), grads)
    adam = [g / np.sqrt(1) for g in blocks.adam(grads[1:], 0.95, 0.95, 0.0)]
    close(out, [np.zeros(5), *adam], rtol=1e-6)  # the eps of 1e-8


# What is linear in the gradients is the same in any basis: if it is turned with them.
@pytest.mark.parametrize("inner", [gx.scale_by_momentum(0.9), gx.ema(0.9)])
def test_a_linear_rule_does_not_see_the_basis(inner):
    grads = gradients(9, 4, 4)
    alone, _ = run(inner, grads[1:])
    out, _ = run(gx.in_eigenbasis(inner, every=2), grads)
    close(out, [np.zeros((4, 4)), *alone])
    permuted, _ = run(gx.in_eigenbasis(inner, every=2, linear=()), grads)
    assert np.abs(np.stack(permuted)[1:] - np.stack(alone)).max() > 0.1


def test_a_decay_inside_is_one_of_the_parameters():
    grads, w = gradients(5, 4, 4), gradients(1, 4, 4, seed=3)[0]
    inside, _ = run(gx.in_eigenbasis(gx.chain(gx.scale_by_adam(), gx.add_decayed_weights(0.1)), every=2), grads, w)
    outside, _ = run(gx.in_eigenbasis(gx.scale_by_adam(), every=2), grads, w)
    close(inside, [outside[0], *[u + 0.1 * w for u in outside[1:]]])


def test_what_changes_at_which_step():
    tx = gx.in_eigenbasis(gx.scale_by_adam(), every=3)
    state = tx.init(np.zeros((4, 4)))
    bases, counts = [], []
    for g in gradients(8, 4, 4):
        u, state = tx.update(g, state)
        bases.append(np.asarray(state.left_basis))
        counts.append(int(state.inner_state.count))
        np.testing.assert_allclose(state.left_basis.T @ state.left_basis, np.eye(4), atol=1e-12)
    assert counts == list(range(8))
    assert [bool((a != b).any()) for a, b in itertools.pairwise(bases)] == [False, False, True] * 2 + [False]
    assert np.abs(u).max() > 0.1


def test_the_signs_of_eigenvectors_cancel():
    grads, tx = gradients(8, 4, 4), gx.in_eigenbasis(gx.scale_by_adam(), every=3)
    _, state = run(tx, grads[:5])
    s, r = np.array([1.0, -1, -1, 1]), np.array([-1.0, -1, 1, 1])
    inner = state.inner_state._replace(mu=s[:, None] * state.inner_state.mu * r[None, :])
    other = state._replace(left_basis=state.left_basis * s[None, :], right_basis=state.right_basis * r[None, :])
    other = other._replace(inner_state=inner)
    for g in grads[5:]:
        u, state = tx.update(g, state)
        v, other = tx.update(g, other)
        close([u], [v])


@pytest.mark.parametrize("shape", [(1, 4), (4, 1)])
def test_a_stack_whose_matrices_have_one_basis(shape):
    """An axis of length 1 has none, in each matrix of the stack: a complex one is a stack of two."""
    tx = gx.in_eigenbasis(gx.scale_by_adam(), every=1)
    source = np.random.default_rng(0)
    state, of_parts = tx.init(jnp.zeros(shape, complex)), [tx.init(jnp.zeros(shape)) for _ in range(2)]
    for _ in range(4):
        parts = source.standard_normal((2, *shape))
        u, state = tx.update(jnp.asarray(parts[0] + 1j * parts[1]), state)
        alone = [tx.update(jnp.asarray(g), own) for g, own in zip(parts, of_parts, strict=True)]
        of_parts = [own for _, own in alone]
        np.testing.assert_allclose(u, alone[0][0] + 1j * alone[1][0], rtol=1e-6, atol=1e-9)


def test_a_real_number_for_both_parts_of_a_complex_one_is_refused():
    tx, w = gx.in_eigenbasis(gx.scale_by_rows()), jnp.ones((2, 3), jnp.complex64)
    with refused(
        ValueError, "updates['w'] is complex, and nu of the state inside is real there; take a rule whose state"
    ):
        tx.update({"w": w}, tx.init({"w": w}))
