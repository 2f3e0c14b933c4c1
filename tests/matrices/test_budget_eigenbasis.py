"""What SOAP costs in memory, by XLA's own count on the CPU, in copies of the parameters."""

import re

import jax
import jax.numpy as jnp
import pytest

import gradtx as gx
from tests.budgets import train

pytestmark = [
    pytest.mark.usefixtures("float32"),
    pytest.mark.skipif(jax.__version_info__ < (0, 10), reason="older XLA makes temporaries in plain sums"),
]
N = 256
TX = gx.chain(gx.scale_by_soap(every=10), gx.scale_by_learning_rate(0.1))


def compiled(many, count=None):
    """A donated step, at a count that is known to XLA or one that is not."""
    params = {f"w{i}": jnp.ones((N, N)) for i in range(many)}

    def update(g, state, params):
        known = state[0] if count is None else state[0]._replace(count=jnp.array(count, jnp.int32))
        return TX.update(g, (known, *state[1:]), params)

    return train(update).lower(params, TX.init(params), params).compile()


def copies_of_temporaries(many, count):
    memory = compiled(many, count).memory_analysis()
    assert memory is not None
    return memory.temp_size_in_bytes / (4 * N * N * many)


@pytest.mark.parametrize("many", [1, 3])
def test_temporaries_of_each_kind_of_step(many):
    # Between: the turned gradient, what the inner rule made of it, and a product. Else: also the factors in a batch,
    # and on a CPU what the loop over them reads and writes.
    assert copies_of_temporaries(many, 5) <= 3.1
    assert copies_of_temporaries(many, 10) <= 10.1
    assert copies_of_temporaries(many, 0) <= 5.3


def test_a_step_between_copies_nothing_of_the_state():
    """No array of a state is copied by the program itself, nor in a branch that hands on what it was given."""
    computations, lines = {}, []
    for line in str(compiled(2).as_text()).splitlines():
        if re.match(r"(ENTRY |%)\S+ .*\{$", line):
            computations[line.split(" (")[0]] = lines = []
        lines.append(line)
    branches = {name: text for name, text in computations.items() if name.startswith("%region")}
    idle = {
        name: text
        for name, text in branches.items()
        if not re.search("custom-call|fusion|broadcast|dot", "".join(text))
    }
    (entry,) = [text for name, text in computations.items() if name.startswith("ENTRY")]
    copies = rf"= f32\[{N},{N}\]\S* (copy\(|fusion\(.*calls=%wrapped_copy)"
    assert len([text for text in idle.values() if f"f32[{N},{N}]" in text[0]]) == 2, (
        "of the first bases, of a power step"
    )
    assert [line for text in (entry, *idle.values()) for line in text if re.search(copies, line)] == []
