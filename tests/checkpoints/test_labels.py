"""Groups of a partition, which Optax has under labels in no order, find their states or are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradtx as gx
from tests.checkpoints.optax_rows import FALLING, restored
from tests.refusals import refused

TWO = {"dense": {"w": jnp.ones(2), "b": jnp.ones(2)}, "scale": jnp.ones(1)}
TWO_LABELS = {"dense": {"w": "z", "b": "a"}, "scale": "a"}


def equal(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found, expected)


def injected_groups(a=0.2, z=0.1):
    inj = optax.inject_hyperparams(optax.sgd)
    return optax.partition({"a": inj(a), "z": inj(z)}, TWO_LABELS)


def two_groups(w, others):
    return gx.partition((gx.by_path("dense/w"), gx.sgd(w)), default=gx.sgd(others))


def test_numbers_tell_groups_apart():
    ours, theirs = two_groups(0.1, 0.2), injected_groups()
    for rates in ((0.1, 0.2), (gx.controlled(0.5), 0.2), (0.1, gx.controlled(0.5))):
        state = gx.from_optax(two_groups(*rates), TWO, theirs.init(TWO))
        assert [float(x.learning_rate) for x in state] == pytest.approx([0.1, 0.2])
    with refused(ValueError, "from_optax: learning_rate is 0.1 in the state, and learning_rate is 0.3"):
        gx.from_optax(two_groups(0.3, 0.4), TWO, injected_groups(0.1, 0.2).init(TWO))
    like = gx.to_optax(ours, ours.init(TWO), theirs.init(TWO))
    assert [float(like.inner_states[x].inner_state.hyperparams["learning_rate"]) for x in "az"] == pytest.approx(
        [0.2, 0.1]
    )


def test_groups_that_nothing_tells_apart_need_labels():
    ours, theirs = two_groups(gx.controlled(0.1), gx.controlled(0.2)), injected_groups()
    message = (
        "rules[0][1] of partition may have the label 'a' or 'z' in Optax, and neither arrays nor numbers tell which; "
        "give the labels in the order of its groups, labels=('a', 'z'), say"
    )
    with refused(ValueError, f"from_optax: {message}"):
        gx.from_optax(ours, TWO, theirs.init(TWO))
    with refused(ValueError, f"to_optax: {message}"):
        gx.to_optax(ours, ours.init(TWO), theirs.init(TWO))
    state = gx.from_optax(ours, TWO, restored(theirs.init(TWO)), labels=("z", "a"))
    assert [float(x.learning_rate) for x in state] == pytest.approx([0.1, 0.2])
    grads = jax.tree.map(jnp.ones_like, TWO)
    equal(ours.update(grads, state, TWO)[0], theirs.update(grads, theirs.init(TWO), TWO)[0])
    blank = injected_groups(0.0, 0.0).init(TWO)
    equal(gx.to_optax(ours, state, blank, labels=("z", "a")), theirs.init(TWO))
    with refused(TypeError, "from_optax: labels must be a tuple of the labels of Optax's groups, got 'za'"):
        gx.from_optax(ours, TWO, theirs.init(TWO), labels="za")
    problem = "labels has 'z' of the state's groups 'a', 'z'; give one for each of the 2 groups of partition"
    with refused(ValueError, f"from_optax: {problem}, the default's last"):
        gx.from_optax(ours, TWO, theirs.init(TWO), labels=("z", "q"))


def test_groups_from_which_the_same_comes_need_no_labels():
    same_rate = injected_groups(0.3, 0.3).init(TWO)
    state = gx.from_optax(two_groups(gx.controlled(0.1), gx.controlled(0.2)), TWO, same_rate)
    assert [float(x.learning_rate) for x in state] == pytest.approx([0.3, 0.3])
    ours = two_groups(gx.linear(0.1, 0.0, 5), gx.linear(0.2, 0.0, 5))
    falling = optax.partition({x: optax.sgd(FALLING) for x in "az"}, TWO_LABELS).init(TWO)
    equal(gx.to_optax(ours, gx.from_optax(ours, TWO, falling), falling), falling)
    made = gx.to_optax(ours, ours.init(TWO))
    assert list(made.inner_states) == ["0", "default"]


def test_a_later_group_may_need_the_label_that_an_earlier_one_fits():
    theirs = optax.partition(
        {"a": optax.inject_hyperparams(optax.sgd)(0.2), "z": optax.inject_hyperparams(optax.sgd)(0.1)}, TWO_LABELS
    )
    ours = two_groups(gx.controlled(0.7), 0.2)  # the first fits both labels, the second only "a"
    assert float(gx.from_optax(ours, TWO, theirs.init(TWO))[0].learning_rate) == pytest.approx(0.1)


def test_labels_are_those_of_a_form_that_is_given():
    tx = two_groups(0.1, 0.2)
    with refused(ValueError, "to_optax: labels are those of the groups in like; give a state of the counterpart"):
        gx.to_optax(tx, tx.init(TWO), labels=("z", "a"))


def test_partitions_in_a_partition_have_their_own_labels():
    def by_name(params):
        return jax.tree_util.tree_map_with_path(lambda path, _: "m" if path[-1].key == "w" else "n", params)

    inj = optax.inject_hyperparams(optax.sgd)
    inside = optax.partition({"m": inj(0.1), "n": inj(0.2)}, by_name)
    theirs = optax.partition({"x": inside, "y": inj(0.3)}, {"dense": {"w": "x", "b": "x"}, "scale": "y"})
    rates = [gx.controlled(x) for x in (0.7, 0.8, 0.9)]
    ours = gx.partition(
        (gx.by_path("scale"), gx.sgd(rates[0])),
        default=gx.partition((gx.by_path("dense/b"), gx.sgd(rates[1])), default=gx.sgd(rates[2])),
    )
    with refused(ValueError, "from_optax: rules[0][1] of partition may have the label 'm' or 'n' in Optax"):
        gx.from_optax(ours, TWO, theirs.init(TWO))
    scale, (b, w) = gx.from_optax(ours, TWO, theirs.init(TWO), labels=("y", "x", "n", "m"))
    assert [float(x.learning_rate) for x in (scale, b, w)] == pytest.approx([0.3, 0.2, 0.1])
    with refused(ValueError, "labels has 'm' of the state's groups 'm', 'n'; give one for each of the 2 groups"):
        gx.from_optax(ours, TWO, theirs.init(TWO), labels=("y", "x", "m"))
    with refused(ValueError, "from_optax: the state has the parts ScaleByAdamState, EmptyState, expected"):
        adam = optax.partition({"a": optax.adam(0.1), "z": inj(0.1)}, TWO_LABELS)
        gx.from_optax(two_groups(*rates[:2]), TWO, adam.init(TWO), labels=("a", "z"))
    made = gx.to_optax(gx.partition((gx.by_path("scale"), gx.sgd(FALLING)), default=gx.sgd(FALLING)), (scale, b))
    assert list(made.inner_states) == ["0", "default"]
