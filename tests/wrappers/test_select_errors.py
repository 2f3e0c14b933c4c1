"""What selectors, masks and groups refuse; which array goes where, in words."""

from typing import Any

import jax.numpy as jnp
import pytest

import gradtx as gx

PARAMS = {
    "encoder": {"kernel": jnp.ones((3, 4)), "bias": jnp.ones(4)},
    "head": {"kernel": jnp.ones((4, 2)), "bias": jnp.ones(2)},
    "frozen": None,
}

untyped: Any = gx
BAD = {
    "masked: where, by_path(pattern='hed'), matches no array of encoder/bias, encoder/kernel, head/bias": lambda: (
        untyped.masked(untyped.scale(0.1), untyped.by_path("hed")).init(PARAMS)
    ),
    "only: where, by_path(pattern='hed'), matches no array": lambda: untyped.only(
        untyped.sgd(0.1), untyped.by_path("hed")
    ).init(PARAMS),
    "freeze: where, by_ndim(at_least=5), matches no array": lambda: untyped.freeze(untyped.by_ndim(at_least=5)).init(
        PARAMS
    ),
    "matches no array of a single array without a path": lambda: untyped.freeze(untyped.by_path("w")).init(jnp.ones(2)),
    "by: the function must take a path and an array, or a tree, got one of 3 arguments": lambda: untyped.masked(
        untyped.scale(0.1),
        lambda path, x, y: True,
    ),
    "only: where must be a selector, a tree of booleans or a function, got int 1 at head": lambda: untyped.only(
        untyped.sgd(0.1), {"head": 1}
    ),
    "freeze: where must be a selector, a tree of booleans or a function, got str 'head'": lambda: untyped.freeze(
        "head"
    ),
    "masked: tx must be a transformation, got a function; call it: sgd(…)": lambda: untyped.masked(
        untyped.sgd, untyped.by_path("a")
    ),
    "by_tree: the tree of booleans has nothing for head/bias; it has encoder": lambda: untyped.freeze(
        {"encoder": True}
    ).init(PARAMS),
    "by_tree: the tree of booleans has tail, at which there is no array": lambda: untyped.freeze(
        {"encoder": True, "head": False, "tail": True}
    ).init(PARAMS),
    "by_tree: head/bias is both True and False in the tree of booleans, whose places are": lambda: untyped.by_tree(
        ("head/bias",), ("encoder", "head", "head/bias")
    ).mask(PARAMS),
    "partition: no rule takes encoder/kernel, head/kernel; add one, or default=…": lambda: untyped.partition(
        (untyped.by_path("bias"), untyped.sgd(0.1))
    ).init(PARAMS),
    "partition: rules[1], by_path(pattern='head/bias'), takes nothing: rules before it take head/bias": lambda: (
        untyped.partition(
            (untyped.by_path("bias"), untyped.sgd(0.1)),
            (untyped.by_path("head/bias"), untyped.sgd(0.1)),
            default=untyped.sgd(0.1),
        ).init(PARAMS)
    ),
    "partition: rules[0], by_path(pattern='tail'), matches no array": lambda: untyped.partition(
        (untyped.by_path("tail"), untyped.sgd(0.1)), default=untyped.sgd(0.1)
    ).init(PARAMS),
    "partition: rules[0] must be a pair (selector, transformation), got Transformation": lambda: untyped.partition(
        untyped.sgd(0.1)
    ),
    "partition: rules[0][0] must be a selector, a tree of booleans or a function, got str": lambda: untyped.partition(
        ("a", untyped.sgd(0.1))
    ),
    "partition: rules[0][1] must be a transformation, got a function": lambda: untyped.partition(
        (untyped.by_path("a"), untyped.sgd)
    ),
    "partition: default must be a transformation, got float 0.1": lambda: untyped.partition(default=0.1),
    "by_path: pattern must be a regular expression, got '('": lambda: untyped.by_path("("),
    "by_path: pattern must be a string, got int 3": lambda: untyped.by_path(3),
    "by_ndim: at_least must be a whole number, at least 1, got 0": lambda: untyped.by_ndim(0),
    "by: it needs a function of a path and an array, got str": lambda: untyped.by("head"),
    "by: the function must return a bool, for a it returned ArrayImpl": lambda: untyped.by(
        lambda path, x: jnp.all(x > 0)
    ).mask({"a": jnp.ones(2)}),
    "by_tree: selected must be a tuple of paths, got (1,)": lambda: untyped.by_tree((1,), ()),
    "by_path(pattern='a'): the right side of & must be a selector": lambda: untyped.by_path("a") & 3,
}


@pytest.mark.parametrize("message", BAD)
def test_what_is_refused(message):
    with pytest.raises((TypeError, ValueError)) as caught:
        BAD[message]()
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_state_of_another_optimizer_is_refused():
    tree, where = PARAMS, gx.by_path("head")
    tx = gx.masked(gx.scale(0.1), where)
    with pytest.raises(TypeError, match="masked: the state is a ScaleByLearningRateState, expected MaskedState"):
        tx.update(tree, gx.sgd(0.1).init(tree))
    groups = gx.partition((where, gx.sgd(0.1)), default=gx.sgd(0.2))
    with pytest.raises(ValueError, match="partition: the state must be a tuple of 2, got 1 states"):
        groups.update(tree, groups.init(tree)[:1])


# ---- explain ----


def test_explain_has_a_row_for_each_array_and_a_column_for_each_part_that_selects():
    groups = gx.partition((gx.by_path("bias"), gx.sgd(0.1)), default=gx.freeze(gx.by_path("head")))
    tx = gx.chain(first=gx.masked(gx.scale(0.5), gx.by_path("encoder")), rest=groups)
    assert (
        str(gx.explain(tx, PARAMS))
        == """\
chain: what becomes of each array

array           shape   first: masked      rest: partition                                 rest.default: freeze
---------------------------------------------------------------------------------------------------------------
encoder/bias    (4,)    scale(factor=0.5)  rules[0]: sgd(learning_rate=0.1)
encoder/kernel  (3, 4)  scale(factor=0.5)  default: freeze(where=by_path(pattern='head'))  as it is
head/bias       (2,)    as it is           rules[0]: sgd(learning_rate=0.1)
head/kernel     (4, 2)  as it is           default: freeze(where=by_path(pattern='head'))  frozen"""
    )


def test_explain_without_a_choice_and_through_a_composition():
    assert "w      (2,)   sgd(learning_rate=0.1)" in str(gx.explain(gx.sgd(0.1), {"w": jnp.ones(2)}))

    @gx.composition
    def tuned(learning_rate: gx.NonNegative):
        return gx.only(gx.sgd(learning_rate), gx.by_path("head"))

    lines = str(gx.explain(tuned(0.1), PARAMS)).splitlines()
    assert [line.split()[-1] for line in lines[4:]] == ["frozen", "frozen", *["sgd(learning_rate=0.1)"] * 2]
    markdown = gx.explain(tuned(0.1), PARAMS)._repr_markdown_()
    assert "| `head/bias` | `(2,)` | `sgd(learning_rate=0.1)` |" in markdown


def test_explain_refuses_what_init_refuses():
    with pytest.raises(ValueError, match=r"explain: only: where, by_path.*, matches no array of encoder/bias"):
        gx.explain(gx.only(gx.sgd(0.1), gx.by_path("tail")), PARAMS)
    with pytest.raises(TypeError, match=r"explain: tx must be a transformation of gradtx, got float 0.1"):
        untyped.explain(0.1, PARAMS)
