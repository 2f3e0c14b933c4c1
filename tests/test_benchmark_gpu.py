"""The benchmark of accelerators runs on a CPU, in its small form."""

import json

import pytest

from benchmarks import gpu

pytestmark = pytest.mark.slow


def test_its_small_form_measures_every_optimizer_and_the_laws(tmp_path, capsys):
    gpu.main(["--quick", "--json", str(tmp_path / "numbers.json")])
    out = capsys.readouterr().out
    assert "findings of the quick laws, of four optimizers, hold on this device" in out
    rows = dict(zip(gpu.CASES, json.loads((tmp_path / "numbers.json").read_text())["rows"], strict=True))
    for name, row in rows.items():
        assert row["title"] == gpu.CASES[name].title
        assert set(row["step"]) == ({"gradtx", "Optax", "ratio"} if gpu.CASES[name].optax else {"gradtx"})
        assert all(values["rounds"] == gpu.QUICK.rounds for values in row["step"].values())
        assert row["accessed"]["gradtx"] >= row["least"]
    assert [name for name, row in rows.items() if row["of jnp.dot"]] == ["muon"]
    assert 0 < rows["muon"]["kernels"]["gradtx"] < rows["muon"]["kernels"]["Optax"]


def test_kernels_are_counted_where_they_start():
    text = """HloModule m
%fused_computation (a: f32[2]) -> f32[2] {
  %a = f32[2]{0} parameter(0)
  ROOT %b = f32[2]{0} copy(%a)
}

ENTRY %main (p: f32[2]) -> (f32[2], f32[2]) {
  %p = f32[2]{0} parameter(0)
  %f = f32[2]{0} fusion(%p), kind=kLoop, calls=%fused_computation
  %c = f32[2]{0} copy(%p)
  ROOT %t = (f32[2]{0}, f32[2]{0}) tuple(%f, %c)
}
"""
    assert gpu.count_kernels(text) == 2
