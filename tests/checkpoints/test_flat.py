"""A state under names that outlive the way in which its optimizer is put together."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import gradtx as gx
from gradtx.values.value import text_of
from tests.catalogue import TRANSFORMATIONS
from tests.trees import tree

W = {"dense": {"w": jnp.linspace(-1.0, 1.0, 6).reshape(2, 3), "b": jnp.ones(3)}, "scale": jnp.array(0.5)}
CHAIN = gx.chain(gx.scale_by_adam(), gx.add_decayed_weights(1e-4), gx.scale_by_learning_rate(0.1))
ADAM = ["count", "mu/dense/b", "mu/dense/w", "mu/scale", "nu/dense/b", "nu/dense/w", "nu/scale"]


def gradients(step):
    return jax.tree.map(lambda x: jnp.cos(x + step), W)


def trained(tx, steps=3):
    state = tx.init(W)
    for i in range(steps):
        _, state = tx.update(gradients(i), state, W)
    return state


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert (x.shape, x.dtype, x.weak_type) == (y.shape, y.dtype, y.weak_type)
        np.testing.assert_array_equal(x, y)


def assert_goes_on(before, after, steps=3, equal=True, **fresh):
    """That one optimizer, taken over from the other, does its next step bit for bit."""
    state = trained(before, steps)
    taken = gx.from_flat(after, W, gx.to_flat(before, state), **fresh)
    assert jax.tree.structure(taken) == jax.tree.structure(after.init(W))
    u, _ = before.update(gradients(steps), state, W)
    v, _ = after.update(gradients(steps), taken, W)
    if equal:
        jax.tree.map(np.testing.assert_array_equal, u, v)
    return taken


@pytest.mark.parametrize("member", TRANSFORMATIONS, ids=lambda m: text_of(m.tx))
def test_every_member_comes_back(member):
    params = tree()
    state = member.tx.init(params)
    for seed in (1, 2):
        _, state = member.step(tree(seed=seed), state, params)
    flat = gx.to_flat(member.tx, state)
    assert sum(not key.endswith("/codec") for key in flat) == 1 + len(jax.tree.leaves(state))
    assert_equal(gx.from_flat(member.tx, params, flat), state)
    on_disk = {key: np.asarray(x) for key, x in flat.items()}
    assert_equal(gx.from_flat(member.tx, params, on_disk), state)


@pytest.mark.parametrize("member", TRANSFORMATIONS, ids=lambda m: text_of(m.tx))
def test_shapes_have_the_names_of_arrays(member):
    params = tree()
    shapes = jax.eval_shape(lambda: params)
    flat = gx.to_flat(member.tx, jax.eval_shape(member.tx.init, params))
    assert list(flat) == list(gx.to_flat(member.tx, member.tx.init(params)))
    state = gx.from_flat(member.tx, shapes, flat)
    assert jax.tree.leaves(state) == jax.tree.leaves(jax.eval_shape(member.tx.init, params))


OPTAX = [
    optax.adam(0.1),
    optax.adamw(optax.linear_schedule(0.1, 0.0, 9)),
    optax.lbfgs(3, linesearch=None),
    optax.scale_by_backtracking_linesearch(5),  # of which one array is weakly typed
    optax.inject_hyperparams(optax.adam)(0.1),
    optax.MultiSteps(optax.adam(0.1), 2).gradient_transformation(),
    optax.multi_transform({"x": optax.adam(0.1), "y": optax.adam(0.2)}, {"dense": "x", "scale": "y"}),
    optax.masked(optax.trace(0.9), {"dense": True, "scale": False}),
    gx.chain(optax.clip(1.0), gx.masked(optax.trace(0.9), gx.by_path("dense"))),
]


@pytest.mark.parametrize("tx", OPTAX)
def test_optaxs_own_come_back(tx):
    state = jax.tree.map(lambda x: x + jnp.ones([], x.dtype), tx.init(W))
    flat = gx.to_flat(tx, state)
    assert len(flat) == 1 + len(jax.tree.leaves(state))
    jax.tree.map(np.testing.assert_array_equal, gx.from_flat(tx, W, flat), state)
    kinds = [(x.dtype, x.weak_type) for x in jax.tree.leaves(gx.from_flat(tx, W, flat))]
    assert kinds == [(x.dtype, x.weak_type) for x in jax.tree.leaves(tx.init(W))]
    shapes = jax.tree.leaves(gx.from_flat(tx, jax.eval_shape(lambda: W), flat))
    assert [x.shape for x in shapes] == [x.shape for x in jax.tree.leaves(state)]
    assert {*map(type, shapes)} == {jax.ShapeDtypeStruct}


def keys(tx):
    return sorted(gx.to_flat(tx, tx.init(W)))


# ---- names ----


def test_a_key_is_part_quantity_and_parameter():
    rate = ["scale_by_learning_rate/count", "scale_by_learning_rate/measured/learning_rate"]
    assert keys(gx.adam(0.1)) == [*[f"scale_by_adam/{key}" for key in ADAM], *rate, "version"]
    assert keys(optax.adam(0.1)) == [*[f"scale_by_adam/{key}" for key in ADAM], "version"]
    assert keys(gx.chain(optax.trace(0.9))) == [
        "trace/trace/dense/b",
        "trace/trace/dense/w",
        "trace/trace/scale",
        "version",
    ]


def test_further_parts_of_a_name_are_numbered_in_their_order():
    tx = gx.chain(gx.masked(gx.ema(0.9), gx.by_path("dense/w")), gx.only(gx.ema(0.5), gx.by_path("scale|w")))
    assert keys(tx) == ["ema#2/ema/dense/w", "ema#2/ema/scale", "ema/ema/dense/w", "version"]


def test_groups_of_a_partition_have_their_parts_of_one_name_as_one():
    tx = gx.partition((gx.by_ndim(2), gx.chain(gx.ema(0.5), gx.adam(0.1))), default=gx.chain(gx.adam(0.2), gx.ema(0.5)))
    rate = ["scale_by_learning_rate/count", "scale_by_learning_rate/measured/learning_rate"]
    numbers = ["scale_by_adam/count", *rate]
    assert keys(gx.chain(tx, gx.ema(0.1))) == sorted(
        [
            *["ema#2/ema/dense/b", "ema#2/ema/dense/w", "ema#2/ema/scale"],
            *["ema/ema/dense/b", "ema/ema/dense/w", "ema/ema/scale"],
            *[f"scale_by_adam/{key}" for key in ADAM if key != "count"],
            *[f"{key}@{group}" for key in numbers for group in ("by_ndim(at_least=2)", "~by_ndim(at_least=2)")],
            "version",
        ]
    )


def test_hyperparameters_in_the_state_stand_apart():
    tx = gx.chain(gx.scale_by_momentum(gx.controlled(0.9), dampening=gx.linear(0.0, 0.1, 3)), gx.clip_by_norm(1.0))
    assert [key for key in keys(tx) if "trace" not in key] == [
        "clip_by_norm/measured/clipped",
        "clip_by_norm/measured/clipped_norm",
        "clip_by_norm/measured/norm",
        "scale_by_momentum/controlled/decay",
        "scale_by_momentum/measured/dampening",
        "scale_by_momentum/schedule/count",
        "version",
    ]


def test_a_wrapper_of_ones_own_and_reserved_words_keep_their_arrays():
    @gx.transformation
    def hides(tx: optax.GradientTransformation):
        def init(params):
            return {"measured": jnp.zeros(2), "own": jax.tree.map(jnp.copy, tx.init(params))}  # looks into the state

        return init, lambda updates, state, params=None: (updates, state)

    assert keys(hides(gx.scale_by_momentum(0.5))) == [
        "hides/own/trace/dense/b",
        "hides/own/trace/dense/w",
        "hides/own/trace/scale",
        "hides/state/measured",
        "version",
    ]


def test_names_with_a_slash_stay_apart():
    params = {"a/b": jnp.ones(2), "a": {"b": jnp.ones(3)}}
    tx = gx.ema(0.5)
    flat = gx.to_flat(tx, tx.update(params, tx.init(params))[1])
    assert sorted(flat) == ["ema/ema/a/b", "ema/ema/a/b#2", "version"]
    np.testing.assert_array_equal(gx.from_flat(tx, params, flat).ema["a/b"], [0.5, 0.5])


# ---- what is rearranged ----

NAMED = gx.chain(clip=gx.identity(), descent=gx.chain(adam=gx.scale_by_adam(), rest=gx.chain(*CHAIN.parts[1:])))


@pytest.mark.parametrize(
    "tx",
    [
        CHAIN,
        NAMED,
        gx.skip_nonfinite(gx.adamw(0.1)),
        gx.only(gx.adamw(0.1), gx.by_path("")),
        gx.partition((gx.by_path("dense"), gx.adamw(0.1)), default=gx.adamw(0.1)),
        gx.partition((gx.by_path("scale"), gx.adamw(0.1)), (gx.by_path("b"), CHAIN), default=gx.skip_nonfinite(NAMED)),
        gx.adamw(gx.constant(0.1)),
        gx.adamw(0.1, b1=gx.constant(0.9), weight_decay=gx.constant(1e-4)),
        gx.adamw(gx.controlled(0.1)),
        gx.chain(gx.clip_by_global_norm(jnp.inf), gx.record("norm", gx.global_norm), gx.adamw(0.1)),
    ],
    ids=text_of,
)
def test_the_next_step_is_the_same_however_it_is_put_together(tx):
    assert_goes_on(gx.adamw(0.1), tx)
    if not any(key.rpartition("/")[0].endswith("controlled") for key in keys(tx)):
        assert_goes_on(tx, gx.adamw(0.1))


def test_what_is_added_starts_anew_where_it_is_named():
    tx = gx.accumulate(gx.adamw(0.1), 1)
    state = assert_goes_on(gx.adamw(0.1), tx, fresh={"accumulate"})
    assert (int(state.count), int(state.inner_state[0].count)) == (0, 3)
    # It starts anew whatever the dict has of it, and in a form of its own.
    half = trained(gx.accumulate(gx.adamw(0.1), 2))
    longer = gx.from_flat(tx, W, gx.to_flat(gx.accumulate(gx.adamw(0.1), 2), half), fresh=["accumulate"])
    assert_equal(longer._replace(inner_state=half.inner_state), tx.init(W)._replace(inner_state=half.inner_state))
    assert_equal(longer.inner_state, half.inner_state)


def test_a_schedule_goes_on_at_the_updates_done_so_far():
    rate, decay = gx.linear(1.0, 0.0, 10), gx.linear(0.0, 1.0, 10)
    state = assert_goes_on(gx.sgd(0.1, momentum=0.5), gx.sgd(rate, momentum=decay), equal=False)
    momentum, last = state
    assert (int(momentum.count), int(last.count)) == (3, 3)
    _, after = gx.sgd(rate, momentum=decay).update(W, state)
    assert round(float(after[1].learning_rate), 6) == 0.7
    assert round(float(after[0].hyperparams["decay"]), 6) == 0.3
    # The only count may be that which a formula has.
    (alone,) = gx.from_flat(
        gx.chain(gx.scale_by_adam(decay)), W, gx.to_flat(gx.scale_by_adam(), trained(gx.scale_by_adam()))
    )
    assert int(alone.count) == int(alone.inner_state.count) == 3


def test_a_controlled_number_is_kept_and_a_new_one_is_the_optimizers():
    tx = gx.chain(gx.scale_by_momentum(gx.controlled(0.9)), gx.scale_by_learning_rate(gx.controlled(0.1)))
    state = gx.set_hyperparameters(tx, tx.init(W), decay=0.5, learning_rate=0.25)
    whole = gx.skip_nonfinite(gx.chain(all=tx))
    again = gx.from_flat(whole, W, gx.to_flat(tx, state))
    held = gx.hyperparameters(whole, again)
    assert [float(x) for name, x in held.items() if name.endswith(("decay", "rate"))] == pytest.approx([0.5, 0.25])
    new = gx.adam(gx.controlled(0.5))
    state = gx.from_flat(new, W, gx.to_flat(gx.adam(0.1), trained(gx.adam(0.1))))
    assert float(gx.hyperparameters(new, state)["learning_rate"]) == 0.5
    groups = gx.partition((gx.by_ndim(2), gx.sgd(gx.controlled(0.1))), default=gx.sgd(gx.controlled(0.2)))
    one = gx.sgd(gx.controlled(0.3))
    both = gx.from_flat(groups, W, gx.to_flat(one, one.init(W)))
    assert [float(x) for x in jax.tree.leaves(both) if x.dtype.kind == "f"] == pytest.approx([0.3, 0.3])


# ---- where arrays come from and lie ----


def test_floats_are_converted_and_nothing_is_shared():
    tx = gx.adam(0.1)
    state = trained(tx)
    flat = gx.to_flat(tx, state)
    assert flat["scale_by_adam/mu/dense/w"] is state[0].mu["dense"]["w"]
    again = gx.from_flat(tx, W, flat)
    ours, theirs = ({x.unsafe_buffer_pointer() for x in jax.tree.leaves(s)} for s in (again, state))
    assert not ours & theirs
    wide = {key: np.asarray(x, np.float64) if "mu" in key else x for key, x in flat.items()}
    assert_equal(gx.from_flat(tx, W, wide), state)


def test_each_array_lies_where_that_of_a_fresh_state_does():
    mesh = jax.make_mesh((8,), ("x",))
    split, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("x",), ()))
    params = jax.device_put({"w": jnp.arange(16.0), "b": jnp.ones(3)}, {"w": split, "b": whole})
    tx = gx.scale_by_momentum(0.9)
    fresh = tx.init(params)
    flat = {key: np.asarray(x) for key, x in gx.to_flat(tx, tx.update(params, fresh)[1]).items()}
    state = gx.from_flat(tx, params, flat)
    assert state.trace["w"].sharding == fresh.trace["w"].sharding
    assert len(state.trace["w"].addressable_shards[0].data) == 2
    np.testing.assert_array_equal(state.trace["w"], np.arange(16.0))
    loose = gx.from_flat(tx, {"w": jnp.ones(16), "b": jnp.ones(3)}, flat)
    assert not loose.trace["w"].committed


def test_saved_by_numpy(tmp_path):
    params = {"w": jnp.ones((2, 3), jnp.bfloat16), "b": jnp.ones(3, jnp.float16)}
    tx = gx.chain(gx.adamw(0.1), gx.early_stopping())
    _, state = tx.update(params, tx.init(params), params, value=1.0)
    np.savez(tmp_path / "state.npz", **gx.to_flat(tx, state))
    with np.load(tmp_path / "state.npz") as flat:
        assert_equal(gx.from_flat(tx, params, flat), state)


def test_saved_by_orbax(tmp_path):
    ocp = pytest.importorskip("orbax.checkpoint")
    before, after = gx.adamw(0.1), gx.skip_nonfinite(gx.adamw(gx.constant(0.1)))
    state = trained(before)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", gx.to_flat(before, state))
        checkpointer.wait_until_finished()
        template = gx.to_flat(before, jax.eval_shape(before.init, W))
        for flat in (checkpointer.restore(tmp_path / "state", template), checkpointer.restore(tmp_path / "state")):
            taken = gx.from_flat(after, W, flat)
            assert_equal(taken.inner_state, state)
