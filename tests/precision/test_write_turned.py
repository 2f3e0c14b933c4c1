"""Parameters of 16 bits written inside of what moves them, or changes updates behind the writing."""

import pytest

import gradtx as gx
from tests.precision.test_write import WRITERS
from tests.precision.test_write_inside import GRADIENTS, run, same_trees, sgd
from tests.refusals import refused


@pytest.mark.parametrize("tx", [WRITERS["stochastic"], WRITERS["master"], WRITERS["split"]], ids=repr)
def test_a_step_from_where_the_way_up_began_has_every_bit(tx):
    expected, _ = run(sgd(tx))
    twice = [g for g in GRADIENTS for _ in range(2)]
    same_trees(expected, run(gx.sam(sgd(tx), 0.0, transparent=True), twice)[0][1::2])


TURNED = {
    "in_subspace: tx": lambda tx: gx.in_subspace(tx, 1),
    "in_eigenbasis: tx": gx.in_eigenbasis,
    "scale_by_sophia: hessian": lambda tx: gx.scale_by_sophia(hessian=tx),
    "lookahead: tx": gx.lookahead,
    "schedule_free: tx": lambda tx: gx.schedule_free(tx, 0.1),
    "mechanize: tx": gx.mechanize,
    "cautious: tx": gx.cautious,
    "graft: direction": lambda tx: gx.graft(tx, gx.identity()),
    "graft: magnitude": lambda tx: gx.graft(gx.identity(), tx),
}


@pytest.mark.parametrize("place", TURNED)
def test_what_changes_updates_behind_them_takes_no_writing(place):
    with refused(
        ValueError, f"{place} has a part that writes parameters, whose updates can't be changed any more; write"
    ):
        TURNED[place](sgd(WRITERS["split"]))
