"""Steps in a process in which XLA joins loops: their bytes and results, the laws, and the question whether it does."""

import jax
import pytest

from gradtx.values.value import text_of
from tests.joined import HEAD, MEMBERS, TABLE, committed, in_process

newer = pytest.mark.skipif(jax.__version_info__ < (0, 10), reason="older XLA makes temporaries in plain sums")
pytestmark = [pytest.mark.slow, newer]


def test_each_step_is_one_loop_that_moves_the_least():
    for tx, (accessed, temporary, most) in in_process("budgets").items():
        assert accessed <= most + 0.1, tx
        assert temporary <= (4.1 if most == 44 and "skip" in tx else 0.1), tx


def test_the_question_is_answered_in_every_context():
    answers = in_process("contexts")
    assert answers == {name: [True, 1] for name in answers}
    assert len(answers) > 10


def test_results_are_those_of_loops_apart():
    found = in_process("differences")
    assert len(found) >= 15
    assert {tx: x for tx, x in found.items() if not x < 1e-6} == {}


def test_laws_hold():
    found = in_process("broken_laws")
    assert len(found) == 10
    assert found == dict.fromkeys(found, "")


def test_the_table_has_every_member_that_compiles_soon():
    assert list(committed()) == [text_of(member.tx) for member in MEMBERS]
    assert TABLE.read_text().startswith(HEAD)
