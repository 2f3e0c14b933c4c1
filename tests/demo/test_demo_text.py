"""The demo's text, its transformer, and what the command compares."""

import importlib.util
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradtx as gx
from gradtx.demo import text as on
from gradtx.demo.compared import ON_TEXT, on_text
from gradtx.demo.text_report import printable
from gradtx.demo.transformer import ModelSize, bits_per_byte, continue_text, initial_weights, next_byte_logits
from gradtx.values.value import text_of

pytestmark = pytest.mark.slow

TEXT = on.load_text()
TINY = on.Setup(ModelSize(1, 16, 16), 4, 4, 0)
WEIGHTS = initial_weights(0, TINY.size)


def test_the_text_is_english_and_its_paragraphs_are_held_out_or_trained_on():
    train, held_out = (bytes(x).decode(errors="replace") for x in TEXT)
    assert len(TEXT.train) > 300_000
    assert len(TEXT.held_out) == on.HELD_OUT + 1
    assert train[-1] == held_out[0]
    assert train.count(" the ") > 1000
    assert held_out.count(" the ") > 100
    seen = {" ".join(x.split()) for x in re.split(r"\n\s*\n", train)}
    assert not seen & {" ".join(x.split()) for x in re.split(r"\n\s*\n", held_out)[1:]}  # the first is cut in two


def test_a_batch_is_a_function_of_the_seed_and_the_step():
    first = on.batch_at(3, 0, TEXT.train, 4, 16)
    assert first.shape == (4, 17)
    np.testing.assert_array_equal(on.batch_at(3, 0, TEXT.train, 4, 16), first)
    for other in (on.batch_at(4, 0, TEXT.train, 4, 16), on.batch_at(3, 1, TEXT.train, 4, 16)):
        assert not np.array_equal(other, first)
    whole = bytes(TEXT.train)
    assert all(bytes(row) in whole for row in first)


def test_each_held_out_byte_is_predicted_once():
    text = np.arange(16 * 5 + 1, dtype=np.uint8)
    passages, weights = on.held_out_batches(text, 3, 16)
    assert passages.shape == (2, 3, 17)
    assert weights.tolist() == [[1, 1, 1], [1, 1, 0]]
    np.testing.assert_array_equal(passages[weights > 0][:, 1:].ravel(), text[1:])


def test_the_held_out_loss_does_not_turn_on_how_many_passages_are_looked_at_at_once():
    tx = gx.sgd(0.1)
    params = jax.tree.map(jnp.asarray, WEIGHTS)
    text = TEXT.held_out[: 16 * 50 + 1]
    found = [
        float(on.evaluate_text(tx, params, tx.init(params), *on.held_out_batches(text, n, 16))) for n in (3, 16, 50)
    ]
    np.testing.assert_allclose(found, found[0], rtol=1e-6)


def test_a_prediction_looks_back_and_never_ahead():
    text = jnp.asarray(TEXT.train[:16][None], jnp.int32)
    before = next_byte_logits(WEIGHTS, text)
    after = next_byte_logits(WEIGHTS, text.at[0, 9].set(200))
    np.testing.assert_array_equal(before[0, :9], after[0, :9])
    assert not np.allclose(before[0, 9:], after[0, 9:])


def test_bits_per_byte_are_those_of_the_formula():
    passages = on.batch_at(0, 0, TEXT.train, 3, 16)
    logits = np.asarray(next_byte_logits(WEIGHTS, jnp.asarray(passages[:, :-1], jnp.int32)), np.float64)
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    hit = np.take_along_axis(p, passages[:, 1:, None].astype(int), axis=-1)
    np.testing.assert_allclose(bits_per_byte(WEIGHTS, jnp.asarray(passages)), -np.log2(hit).mean((1, 2)), rtol=1e-5)
    assert abs(float(bits_per_byte(WEIGHTS, jnp.asarray(passages)).mean()) - 8) < 0.2  # it knows nothing yet


def test_the_default_model_has_a_million_parameters():
    leaves = jax.tree.leaves(initial_weights(0, on.LARGE))
    assert sum(x.size for x in leaves) == 1_088_784
    assert {x.dtype for x in leaves} == {np.dtype(np.float32)}


def test_training_goes_down_and_is_always_the_same():
    first = on.train_on_text(gx.adam(3e-3), on.QUICK)
    assert first.losses.shape == (20,)
    assert first.losses[-1] < first.losses[0] - 2
    assert [int(x) for x in first.curve[:, 0]] == list(range(0, 21, 2))
    assert first.bits == first.curve[-1, 2] < 6
    assert first.memory == pytest.approx(8.0, abs=0.01)
    again = on.train_on_text(gx.adam(3e-3), on.QUICK)
    np.testing.assert_array_equal(again.losses, first.losses)
    assert again.bits == first.bits


def test_all_start_from_the_same_weights_and_see_the_same_batches():
    still = [on.train_on_text(tx, TINY) for tx in (gx.sgd(0.0), gx.scale(0.0))]
    np.testing.assert_array_equal(still[0].losses, still[1].losses)
    assert on.train_on_text(gx.sgd(0.0), TINY._replace(seed=1)).losses[0] != still[0].losses[0]


def test_the_step_compiles_once_for_all_learning_rates():
    step: Any = on.text_step
    step.clear_cache()
    for rate in (1e-3, 1e-2):
        on.train_on_text(gx.adam(rate), TINY)
    assert step._cache_size() == 1


def test_schedule_free_is_evaluated_at_its_average():
    tx = gx.schedule_free_adamw(0.05)
    run = on.train_on_text(tx, TINY)
    params, state = jax.tree.map(jnp.asarray, WEIGHTS), None
    state = tx.init(params)
    for step in range(TINY.steps):
        batch = jnp.asarray(on.batch_at(step, 0, TEXT.train, TINY.rows, 16))
        params, state, _ = on.text_step(tx, params, state, batch)
    own = gx.evaluation_parameters(tx, state, params)
    for found, expected, moving in zip(*map(jax.tree.leaves, (run.params, own, params)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        assert not np.allclose(expected, moving, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_several_devices_train_to_the_numbers_of_one(count):
    setup = TINY._replace(rows=24)
    one = on.train_on_text(gx.adamw(3e-3), setup)
    mesh = on.mesh_over(jax.devices()[:count])
    several = on.train_on_text(gx.adamw(3e-3), setup, mesh)
    np.testing.assert_allclose(several.losses, one.losses, rtol=1e-5)
    assert several.bits == pytest.approx(one.bits, rel=1e-5)


def test_weights_and_states_are_spread_over_the_devices():
    params = on.lay_out_weights(WEIGHTS, on.mesh_over(jax.devices()[:8]))
    state = on.compile_init(gx.adamw(1e-3), params)(params)
    for x in jax.tree.leaves((params, gx.find(state, "mu"))):
        assert x.addressable_shards[0].data.size * 8 == x.size


def test_what_is_hidden_goes_to_muon_and_all_else_to_adamw():
    shown = str(gx.explain(on_text(10)["muon"], WEIGHTS))
    rows = {line.split()[0]: "scale_by_muon" in line for line in shown.splitlines() if re.match(r"\S+ +\(", line)}
    hidden = {name for name, is_muon in rows.items() if is_muon}
    assert hidden == {f"layers/0/{x}" for x in ("attention/qkv", "attention/out", "mlp/up", "mlp/down")}
    assert len(rows) == 10


def test_without_a_schedule_the_rates_rise_and_fall():
    for name, tx in on_text(100).items():
        rate = next(x for path, x in gx.hyperparameters(tx).items() if path.split(".")[-1] == "learning_rate")
        values = np.asarray(rate(np.arange(101)))
        assert values.max() == pytest.approx(ON_TEXT[name][1], rel=1e-3)
        assert values[0] < values[9]
        assert (values[-1] < values[50]) == (name != "schedule_free")


def test_a_sample_is_as_likely_as_the_model_says():
    certain = jax.tree.map(jnp.zeros_like, WEIGHTS)
    certain["norm"] += 1.0
    certain["embed"]["bytes"] += 1.0
    certain["head"] = certain["head"].at[:, ord("x")].set(100.0)
    drawn = continue_text(certain, TEXT.held_out[:16], jax.random.key(0))
    assert printable(drawn) == "x" * 48


def test_a_sample_moves_no_cursor():
    assert printable(np.frombuffer(b"a\x1b[2J\n\xff\x07b", np.uint8)) == "a\N{REPLACEMENT CHARACTER}[2J\n" + (
        "\N{REPLACEMENT CHARACTER}" * 2 + "b"
    )


def test_compares_all_and_draws_them(shown, tmp_path):
    out = shown("text", "--quick", "--steps", "2", "--optimizer", "sgd(1e30)", *names("adamw", "adamw_8bit"))
    plain = " ".join(out.split())
    for name, memory in (("adamw", "8.0"), ("adamw_8bit", "2.0"), ("custom 1", "0.0")):
        assert re.search(rf"^{name} +(\d\.\d+|nan) +[\d,]+ +{memory} +\d+$", out, re.MULTILINE), name
    assert text_of(on_text(2)["adamw"]) in plain
    assert "Steps: 2, each of 8 passages of 64 bytes; seed: 0; on 1 cpu device." in plain
    assert f"{len(TEXT.train):,} bytes to train on, and the 32,768 behind them held out." in plain
    assert re.search(r"^What adamw\S* writes, behind the held-out text in brackets:$", out, re.MULTILINE)
    figure = tmp_path / "new" / "out" / "text.png"
    assert f"Held-out loss: {figure}" in out
    assert figure.read_bytes().startswith(b"\x89PNG")


def names(*chosen):
    return [x for name in chosen for x in ("--only", name)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("txt",), "argument text: invalid choice: 'txt' (choose from "),
        (("text", "--surface", "ravine"), "argument --surface: text has no surface; leave out one of the two"),
        (("text", "--only", "adagrad"), "argument --only: adagrad is not compared on text; choose from momentum, adaf"),
        (("--only", "muon"), "argument --only: muon is not compared without text; choose from sgd, momentum, "),
        (("--quick",), "argument --quick: goes with text alone: python -m gradtx.demo text --quick"),
        (("--resume",), "argument --resume: goes with text alone: python -m gradtx.demo text --resume"),
        (("--devices", "2"), "argument --devices: goes with text alone: python -m gradtx.demo text --devices 2"),
        (("--surface", "ravine", "--processes", "2"), "argument --processes: goes with text alone"),
        (("text", "--devices", "0"), "argument --devices: must be a whole number, at least 1 and below 2**31, got '0'"),
        (
            ("text", "--devices", "3", "--processes", "2"),
            "argument --batch-size: 16 passages can't be shared evenly by 6 devices; give a multiple of 6",
        ),
        (("text", "--batch-size", "400000"), "argument --batch-size: there are 34"),
        (
            ("text", "--devices", "16"),
            "argument --devices: JAX runs already, with 8 devices; start a new process, got 16",
        ),
        (
            ("text", "--schedule", "cosine(1.0, 9)", "--optimizer", "chain(scale(-0.1))"),
            "argument --schedule: chain(scale(factor=-0.1)) has no learning_rate that the schedule could multiply",
        ),
        (
            ("text", "--optimizer", "chain(sgd(0.1), freeze(by_path('bias')))"),
            "the optimizer custom 1 does not suit the parameters: freeze: where, by_path(pattern='bias')",
        ),
    ],
    ids=lambda x: " ".join(x)[:30] if isinstance(x, tuple) else "",
)
def test_wrong_arguments_are_refused(refusal, arguments, message):
    assert message in refusal(*arguments)


def test_a_package_that_is_missing_is_named(refusal, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "orbax" else find(name))
    assert "orbax-checkpoint not installed; pip install orbax-checkpoint" in refusal("text")


def test_a_folder_of_somebody_else_is_left_alone(refusal, tmp_path):
    own = tmp_path / "text" / "adamw" / "notes.md"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    message = f"argument --out: {str(own.parent)!r} holds files that no run of this has left; give another folder"
    assert message in refusal("text", "--only", "adamw", "--out", str(tmp_path))
    assert own.read_text() == "mine"
