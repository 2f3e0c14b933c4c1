"""Rows of figures as tables: what stands in them, and what does where there is no peer, no torch or no figure."""

from benchmarks import tables
from benchmarks.record import figure, pair
from tests.test_report import a_record, spaced


def a_step(tree, optimizer, libraries):
    times = {name: [0.1 * (i + 1)] * 3 for i, name in enumerate(libraries)}
    found = {name: figure(seconds) for name, seconds in times.items()}
    by = {name: figure(seconds[0] / 0.1 for seconds in [times[name]] * 3) for name in libraries[1:]}
    kinds = ("trace", "lower", "compile", "eager", "step")
    return {
        "tree": tree,
        "optimizer": optimizer,
        "title": optimizer,
        "arrays": 148,
        "parameters": 124_000_000,
        "least": 28,
        "accessed": dict.fromkeys(libraries, 40.2),
        **dict.fromkeys(kinds, found),
        "by gradtx": dict.fromkeys(kinds, by),
        "one loop": pair([0.05] * 3, [0.2] * 3),
        "share": {name: figure([0.5] * 3) for name in libraries},
        "bytes per second": figure([1e10] * 3),
    }


def test_a_step_without_torch_has_no_columns_of_it():
    rows = [a_step("gpt2", "adam", ["gradtx", "Optax", "gradtx, one loop", "torch fused", "torch foreach"])]
    head, _, line = spaced(tables.steps(rows)).splitlines()
    assert head.endswith("| torch | torch ÷ gradtx |")
    times = "100 ms | 300 ms | 200 ms | 2.00 [2.00, 2.00] | 4.00 [4.00, 4.00]"
    case = f"| Adam | 124 million in 148 arrays (GPT-2) | {times} |"
    assert line == f"{case} 400 ms | 4.00 [4.00, 4.00] |"
    without = [a_step("gpt2", "adam", ["gradtx", "Optax", "gradtx, one loop"])]
    assert spaced(tables.steps(without)).splitlines()[2] == case
    assert "torch" not in tables.limits(without)
    assert tables.limits(rows).splitlines()[2].endswith("| 28 | 40 | 40 | 40 | 50 % | 50 % | 50 % | 50 % |")
    assert "| `update` outside `jit` | 100 ms | 200 ms | 2.00 [2.00, 2.00] |" in spaced(tables.outside(rows))


def test_a_table_says_where_there_is_no_peer_and_where_the_peer_is_ahead():
    soap = {"title": "SOAP", "matrices": "4 matrices", "dots": {"gradtx": 27}, "temporary": {"gradtx": 5e6}}
    soap |= {kind: {"gradtx": figure([1.0] * 3)} for kind in ("step", "start", "share")}
    assert "| SOAP on 4 matrices: a step | 1.00 s | no peer | |" in spaced(tables.matrices([soap]))
    assert "| construct | 20.0 µs | 20.0 µs | 0.50 [0.50, 0.75] |" in spaced(tables.overhead(a_record()["rows"]))


def test_the_readme_has_rows_of_all_that_is_measured():
    forms = ("Optax, a closure", "gradtx, a closure", "gradtx, an argument", "gradtx, an argument on the device")
    call = {"call": figure([3e-5]), "ratio": figure([0.8])}
    dispatch = [{"title": "`adam(1e-3)`", "numbers": 5, "forms": dict.fromkeys(forms, call)}]
    both = ["gradtx", "Optax"]
    of_one = [a_step(tree, optimizer, both) for tree in ("one", "gpt2") for optimizer in ("clip-adamw", "adam")]
    step = [{"compilations": {}}, *of_one]
    again = a_record()["rows"][0] | {"title": "trace again"}
    text = tables.in_readme({"step": step, "dispatch": dispatch, "overhead": [*a_record()["rows"], again]})
    names = [line.split(" | ")[0].removeprefix("| ") for line in text.splitlines()[2:]]
    case = "124 million in 148 arrays (GPT-2)"
    assert names == [
        f"step of clipped AdamW, {case}",
        f"`update` outside `jit` of clipped AdamW, {case}",
        f"trace clipped AdamW, {case}",
        f"step of Adam, {case}",
        "step of Adam, tiny arrays, the optimizer an argument",
        "step of Adam, tiny arrays, the optimizer an argument on the device",
        "construct",
    ]
    assert spaced(tables.dispatch(dispatch)).splitlines()[3] == "| gradtx, a closure | 30.0 µs | 0.80 |"


def test_optimizers_stand_by_their_losses_and_an_edge_of_the_rates_shows():
    first = {
        "title": "one",
        "rates": [0.1, 0.3],
        "bits": [3.0, None],
        "best": 0,
        "seeds": [3.0, 3.2, 3.1],
        "memory": 8.0,
    }
    other = {
        "title": "two",
        "rates": [0.1, 0.3],
        "bits": [4.0, 2.0],
        "best": 1,
        "seeds": [2.0, 2.0, 2.0],
        "memory": 4.0,
    }
    broken = first | {"title": "three", "seeds": [3.0, None, 3.1]}
    assert spaced(tables.comparison([broken, first, other])).splitlines()[2:] == [
        "| two | 2.000 | 2.000, 2.000, 2.000 | 0.3 | 4.000 | not tried | 4.0 |",
        "| one | 3.100 | 3.000, 3.200, 3.100 | 0.1 | not tried | diverged | 8.0 |",
        "| three | diverged | 3.000, diverged, 3.100 | 0.1 | not tried | diverged | 8.0 |",
    ]
