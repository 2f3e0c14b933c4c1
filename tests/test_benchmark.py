"""The benchmark takes an optimizer from a file, for which there is no peer to compare."""

import json

import jax
import pytest

import gradtx as gx
from benchmarks import step
from benchmarks.cases import OPTIMIZERS, alone
from benchmarks.measure import Rounds, least_traffic

pytestmark = pytest.mark.slow


@pytest.fixture
def file(tmp_path):
    def write(tx):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(gx.to_config(tx)))
        return str(path)

    return write


def test_an_optimizer_of_a_file_is_measured_by_itself(file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(step, "QUICK", Rounds(trace=1, step=3, eager=1, seconds=60, copied=1024, costs=""))
    before = jax.config.jax_enable_compilation_cache  # pyright: ignore[reportAttributeAccessIssue]
    path = file(gx.lion(gx.cosine(1e-3, 100)))
    step.main(["--quick", "--tree", "many", "--config", path, "--json", str(tmp_path / "numbers.json")])
    jax.config.update("jax_enable_compilation_cache", before)
    out = capsys.readouterr().out
    assert "lion(learning_rate=cosine(start=0.001, steps=100)) on many small arrays" in " ".join(out.split())
    assert out.count("no peer") == 4  # to update outside of jit, to trace, to lower and to compile
    (result,) = json.loads((tmp_path / "numbers.json").read_text())["rows"]
    assert (result["tree"], result["optimizer"]) == ("many", path)
    assert {*result["eager"], *result["compile"]} == {"gradtx"}
    assert {*result["step"], *result["accessed"]} == {"gradtx", "gradtx, one loop"}
    assert result["step"]["gradtx"]["rounds"] == 3
    assert result["accessed"]["gradtx, one loop"] == pytest.approx(20, abs=0.5)  # 36 in as many loops as results


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_least_traffic_is_that_of_the_state(name):
    shapes = {"w": (1000, 1000)}
    optimizer = OPTIMIZERS[name]
    norm = 4 if optimizer.max_norm else 0  # for which the gradient is read once more
    assert least_traffic(alone(optimizer.build("gradtx")), shapes) == (optimizer.traffic or 0) - norm


@pytest.mark.parametrize(
    ("tx", "message"),
    [
        (gx.lbfgs(), "does not suit the tree one: scale_by_zoom_linesearch: update needs value, grad, value_fn: call"),
        (gx.masked(gx.scale(1.0), gx.by_path("bias")), "does not suit the tree one: masked: where, by_path(pattern='b"),
        (gx.constant(1.0), "config.json' holds a schedule, not an optimizer"),
    ],
)
def test_what_can_not_be_measured_is_refused_before_anything_is(file, capsys, tx, message):
    with pytest.raises(SystemExit) as caught:
        step.main(["--quick", "--config", file(tx)])
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert not out
    assert "argument --config: " in err
    assert message in err
