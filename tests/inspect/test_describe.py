"""What a user reads of a transformation: its steps with their rules, and what its state holds."""

import inspect
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest

import gradtx as gx
from gradtx.inspect.report import as_table
from gradtx.values.mathematics import readable
from gradtx.values.printing import WIDTH
from gradtx.values.value import Value, text_of
from tests.catalogue import SCHEDULES, TRANSFORMATIONS
from tests.trees import tree

VALUES = [m.tx for m in TRANSFORMATIONS] + SCHEDULES
PARAMS = {"w": jax.ShapeDtypeStruct((64, 10), jnp.float32), "b": jax.ShapeDtypeStruct((10,), jnp.float32)}
RATE = gx.warmup(1.0, 30).then(gx.cosine(1.0, 570), at=30) * 0.004


# ---- describe ----


def test_the_steps_of_an_optimizer_with_their_rules():
    tx = gx.chain(gx.clip_by_norm(1.0), optax.trace(0.9), gx.sgd(RATE, momentum=0.9))
    assert str(gx.describe(tx)) == (
        "chain\n"
        "  The parts in series, u ↦ Tₙ(… T₂(T₁(u))).\n"
        "  1. clip_by_norm\n"
        "     Each array by itself to a norm of at most c, g · c / max(‖g‖₂, c): the direction stays.\n"
        "     max_norm (c) = 1.0\n"
        "  2. <optax.trace>\n"
        "  3. sgd\n"
        "     Gradient descent, w ← w - η g; with `momentum`, w ← w - η v.\n"
        "     learning_rate (η) = (warmup(value=1.0, steps=30).then(cosine(start=1.0, steps=570), at=30) *\n"
        "     0.004), momentum (μ) = 0.9, nesterov = False, dampening = 0.0\n"
        "     3.1. scale_by_momentum\n"
        "          The velocity, v ← μ v + (1 - d) g; with `nesterov`, (1 - d) g + μ v of the new velocity.\n"
        "          decay (μ) = 0.9, nesterov = False, dampening (d) = 0.0\n"
        "     3.2. scale_by_learning_rate\n"
        "          The step down, -η g: the one place where the sign flips. What comes out is added to the\n"
        "          parameters.\n"
        "          3.2.1. learning_rate (η): (warmup(value=1.0, steps=30).then(cosine(start=1.0, steps=570),\n"
        "                 at=30) * 0.004)\n"
        "                 3.2.1.1. warmup\n"
        "                          A linear rise, η_τ = η (τ + 1)/K, then η for ever: no step is lost on a\n"
        "                          zero rate.\n"
        "                          value (η) = 1.0, steps (K) = 30\n"
        "                 3.2.1.2. cosine\n"
        "                          Half a cosine wave, η_τ = f + ½(η₀ - f)(1 + cos(πτ/T)), then f for ever.\n"
        "                          start (η₀) = 1.0, steps (T) = 570, floor (f) = 0.0"
    )


def test_the_markdown_of_it_has_the_mathematics_as_it_is_in_the_docstring():
    tx = gx.partition((gx.by_path("bias$"), gx.identity()), default=gx.chain(clip=gx.clip_by_value(0.5)))
    assert gx.describe(tx)._repr_markdown_() == (
        "**`partition`**: Each array to the first rule that takes it, $T_{r(i)}(u_i)$.\n"
        "\n"
        "1. `by_path(pattern='bias$')`: **`identity`**: The updates as they are, $u$.\n"
        "2. `default`: **`chain`**: The parts in series, $u \\mapsto T_n(\\dots T_2(T_1(u)))$.\n"
        "   1. `clip`: **`clip_by_value`**: Each element into the interval, $\\min(\\max(g, -\\ell), \\ell)$: the"
        " direction changes.  \n"
        "      `limit` ($\\ell$) = `0.5`"
    )


def test_wrapped_steps_are_named_by_what_they_are():
    text = str(gx.describe(gx.masked(gx.scale(0.1), gx.by_path("a") & ~gx.by_ndim(2))))
    assert "\n  where = (by_path(pattern='a') & ~by_ndim(at_least=2))\n  1. tx: scale\n" in text
    text = str(gx.describe(gx.parallel(gx.identity(), gx.ema(0.9), join=max)))
    assert re.search(r"\n  join \(f\) = <max>\n  1. identity\n .*\n  2. ema\n", text)
    text = str(gx.describe(gx.scale_by_momentum(gx.per_epoch(gx.linear(0.5, 0.9, 3), 10))))
    assert re.search(r"\n  1. decay \(μ\): per_epoch\n(.|\n)*\n {5}1.1. schedule \(η\): linear\n", text)


@pytest.mark.parametrize("value", VALUES, ids=text_of)
def test_every_member_is_described_with_its_rule_and_all_its_numbers(value):
    report = gx.describe(value)
    own = [x for x in [value, *parts(value)] if x.recipe.factory.__doc__]
    assert own
    for part in own:
        assert part.recipe.__name__ in str(report)
        rule = inspect.cleandoc(part.recipe.factory.__doc__).split("\n\n")[0]
        assert " ".join(rule.split()) in report._repr_markdown_()
    assert re.search(r"\$.+\$", report._repr_markdown_())
    assert "\\" not in str(report).replace("\\d", "")  # no TeX is left
    assert "$" not in str(report).replace("bias$", "")
    assert max(map(len, str(report).splitlines())) <= WIDTH
    if isinstance(value, gx.Transformation):
        for path, number in gx.hyperparameters(value).items():
            name = re.split(r"[.\[]", path.rpartition(".")[2])[0]
            written = re.escape(text_of(number))
            if isinstance(number, gx.Schedule):  # a step of its own, with its numbers
                written = rf"{written}|\b{name}( \(.+?\))?: {number.recipe.__name__}"
            assert re.search(rf"\b{name}( \(.+?\))? = (\(.+)?{written}", unwrapped(report)), path


def parts(value):
    """The transformations and schedules inside of a value."""
    for argument in value.arguments.values():
        for x in jax.tree.leaves([argument], is_leaf=lambda x: isinstance(x, gx.Transformation | gx.Schedule)):
            if isinstance(x, Value):
                yield from [x, *parts(x)]


def unwrapped(report):
    return " ".join(str(report).split())


def test_a_rule_without_words_or_with_unknown_mathematics_is_shown_as_it_is():
    @gx.transformation
    def silent(x: gx.Scalar):
        return gx.stateless(lambda g: x * g)

    @gx.transformation
    def fancy(x: gx.Scalar, which: bool = False):
        r"""Fancy, $\mathcal F_x g$, for `by_path("bias$")` and $x^2$.

        **Arguments:** `x` $\mathcal X > 0$; `which` $y$.
        """
        return gx.stateless(lambda g: x * g)

    assert str(gx.describe(silent(2.0))) == "silent\n  x = 2.0"
    assert str(gx.describe(fancy(2.0))) == (
        'fancy\n  Fancy, $\\mathcal F_x g$, for `by_path("bias$")` and x².\n  x ($\\mathcal X$) = 2.0, which = False'
    )
    assert str(gx.describe(optax.adam(1e-3))) == "<optax.chain>"


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        (r"\hat m/(\sqrt{\hat v + \varepsilon_r} + \varepsilon)", "m\u0302/(√(v\u0302 + εᵣ) + ε)"),
        (r"\frac1k\sum_{i=1}^k g_i", "1/k ∑ᵢ₌₁ᵏ gᵢ"),
        (r"\frac{a + 1}{2b} \cdot \tfrac12 \sqrt2", "(a + 1)/(2b) · ½ √2"),
        (r"x^{-1}, c^{\tau/s}, \beta_2^t, s_{\min}, \mu_{t+1}, 2^{31}", "x⁻¹, c^(τ/s), β₂ᵗ, s_min, μₜ₊₁, 2³¹"),
        (r"\lambda\operatorname{sign}(w)\max(\lVert g\rVert_2,\ 0)", "λ sign(w) max(‖g‖₂, 0)"),
        (r"\nabla L(w)^\top u \le \pm 1 \quad\text{for } \eta_{\lfloor\tau/n\rfloor}", "∇L(w)ᵀ u ≤ ±1 for η_⌊τ/n⌋"),
    ],
)
def test_mathematics_for_a_terminal(tex, expected):
    assert readable(f"Of ${tex}$.").replace("\u00a0", " ") == f"Of {expected}."


@pytest.mark.parametrize("tex", [r"\mathcal F", r"\hat{ab}", r"\frac1", r"{x", r"\begin{x}", "x & y", r"a \\ b"])
def test_mathematics_that_has_no_form_in_a_terminal_stays(tex):
    assert readable(f"Of ${tex}$.") == f"Of ${tex}$."


# ---- summary ----


@pytest.mark.usefixtures("float32")
def test_the_state_by_part():
    tx = gx.chain(gx.scale(0.5), gx.adam(1e-3), optax.trace(0.9))
    params = PARAMS | {"b": jax.ShapeDtypeStruct((10,), jnp.bfloat16), "frozen": None}
    report = gx.summary(tx, params)
    assert str(report) == (
        "chain: the state for 650 parameters\n"
        "\n"
        "part                    place                      arrays  dtypes             bytes  bytes/parameter\n"
        "----------------------------------------------------------------------------------------------------\n"
        "scale                   state[0]                        0                         0             0.00\n"
        "scale_by_adam           state[1][0].count               1  int32                  4             0.01\n"
        "                        state[1][0].mu                  2  float32            2,600             4.00\n"
        "                        state[1][0].nu                  2  float32            2,600             4.00\n"
        "scale_by_learning_rate  state[1][1].count               1  int32                  4             0.01\n"
        "                        state[1][1].learning_rate       1  float32                4             0.01\n"
        "<optax.trace>           state[2].trace                  2  bfloat16, float32  2,580             3.97\n"
        "----------------------------------------------------------------------------------------------------\n"
        "total                                                   9                     7,792            11.99"
    )


def test_the_markdown_of_a_table():
    report = as_table(
        "A | B", ["leaf", "rule", "size"], [["w", "by_path('a|b')", 1234], ["`", "", 0.5]], ["all", "", 7]
    )
    assert report._repr_markdown_() == (
        "**A | B**\n"
        "\n"
        "| leaf | rule | size |\n"
        "| :--- | :--- | ---: |\n"
        "| `w` | `by_path('a\\|b')` | 1,234 |\n"
        "| `` ` `` |  | 0.50 |\n"
        "| **all** |  | **7** |"
    )
    assert str(report).splitlines()[2:5] == [
        "leaf  rule             size",
        "---------------------------",
        "w     by_path('a|b')  1,234",
    ]


@pytest.mark.parametrize("member", TRANSFORMATIONS, ids=lambda m: text_of(m.tx))
def test_the_bytes_are_those_of_the_state(member):
    params = tree()
    state = member.tx.init(params)
    lines = str(gx.summary(member.tx, params)).splitlines()
    arrays, size = (int(x.replace(",", "")) for x in re.findall(r"[\d,]+", lines[-1])[:2])
    assert arrays == len(jax.tree.leaves(state))
    assert size == sum(x.nbytes for x in jax.tree.leaves(state))
    places = [place for line in lines[4:-2] for place in re.findall(r"state\S*", line)]
    found = [eval(place, dict(state=state)) for place in places]  # the place is how a user reads it
    assert [x.shape for x in jax.tree.leaves(found)] == [x.shape for x in jax.tree.leaves(state)]


def test_places_in_wrapped_and_scheduled_states():
    tx = gx.chain(
        slow=gx.masked(gx.chain(optax.masked(optax.trace(0.9), {"w": True, "b": False})), gx.by_ndim(1)),
        fast=gx.scale_by_momentum(gx.constant(0.9)),
    )
    rows = [line.split()[:2] for line in str(gx.summary(tx, PARAMS)).splitlines()[4:-2]]
    assert rows == [
        ["<optax.masked>", "state['slow'].inner_state[0].inner_state.trace"],
        ["scale_by_momentum", "state['fast'].count"],
        ["state['fast'].hyperparams", "1"],  # the part is named once
        ["state['fast'].inner_state.trace", "2"],
    ]


class Twice(NamedTuple):
    both: tuple


def test_a_wrapper_of_the_users_own_is_one_part():
    @gx.transformation
    def twice(tx: gx.Transformation):
        def init(params):
            return Twice((tx.init(params), tx.init(params)))

        return init, lambda updates, state, params=None: (updates, state)

    text = str(gx.summary(twice(gx.ema(0.9)), PARAMS))
    assert re.search(r"\ntwice  state.both\[0\].ema .*\n +state.both\[1\].ema ", text)


@pytest.mark.usefixtures("float32")
def test_no_memory_is_taken():
    large = jax.ShapeDtypeStruct((1_000_000, 1_000_000), jnp.float32)
    assert str(gx.summary(gx.adam(1e-3), large)).endswith("5           8,000,000,000,012             8.00")
    assert str(gx.summary(gx.adam(1e-3), {})).startswith("adam: the state for 0 parameters\n")


# ---- bad input ----


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: gx.describe(3), TypeError, "describe: tx must be a transformation or a schedule, got int 3"),
        (lambda: gx.describe(gx.adam), TypeError, r"describe: tx must be .*, got a function; call it: adam\(…\)"),
        (lambda: gx.describe(gx.by_ndim(2)), TypeError, r"describe: .*, got Selector by_ndim\(at_least=2\)"),
        (lambda: gx.summary(gx.adam, {}), TypeError, "summary: tx must be a transformation, got composition"),
        (lambda: gx.summary(gx.constant(0.1), {}), TypeError, r"summary: .* got Schedule constant\(value=0.1\)"),
        (
            lambda: gx.summary(gx.chain(gx.freeze(gx.by_path("x"))), PARAMS),
            ValueError,
            r"^summary: .*matches no array of b, w",
        ),
    ],
)
def test_bad_input_is_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_the_part_that_refuses_is_in_the_notes():
    frozen = gx.freeze(gx.by_path("x"))
    with pytest.raises(ValueError, match="matches no array") as caught:
        gx.summary(gx.chain(gx.scale(1.0), frozen), PARAMS)
    assert caught.value.__notes__[0] == "in part 1 of a chain, freeze(where=by_path(pattern='x'))"


@pytest.mark.usefixtures("float32")
def test_what_can_not_move_takes_no_bytes():
    params = {"w": jnp.ones(3), "n": jnp.arange(3), "name": "w", "shape": jax.ShapeDtypeStruct((), jnp.int32)}
    total, alone = (str(gx.summary(gx.adam(0.1), x)).splitlines()[-1].split() for x in (params, {"w": jnp.ones(3)}))
    assert total[:-1] == alone[:-1]  # the last one is by parameter, of which the model has more
