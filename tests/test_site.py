"""The site asks nobody else for anything: what a page loads is found, and its formulas are drawn beforehand."""

import re
from pathlib import Path

import pytest

from docs.mathematics import with_mathml
from docs.self_contained import needed_from_elsewhere

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "asks",
    [
        '<script async src="https://a.example/x.js"></script>',
        '<link rel="stylesheet" href="//a.example/x.css">',
        "<img alt='' src='http://a.example/x.png'>",
        '<object data="https://a.example/x.svg">',
        '@font-face { src: url("https://a.example/x.woff2") }',
        "@import 'https://a.example/x.css';",
        '<script type="module">const m = await import("https://a.example/x.mjs");</script>',
        '<script type="module">import m from "https://a.example/x.mjs";</script>',
        "fetch(`https://a.example/x`)",
    ],
)
def test_what_a_page_would_load_from_elsewhere_is_found(asks):
    assert [re.sub("^(https?:)?//|/x.*", "", address) for address in needed_from_elsewhere(asks)] == ["a.example"]


@pytest.mark.parametrize(
    "own",
    [
        '<p>See <a class="x" href="https://a.example">there</a>, <code>import "https://a.example"</code>.</p>',
        '<script src="../x.js"></script><img src="x.png"><img src="data:image/png;base64,//a+">',
        '@font-face { src: url("x.woff") }',
        '<svg xmlns="http://www.w3.org/2000/svg"></svg>',
    ],
)
def test_what_is_the_sites_own_is_left_alone(own):
    assert needed_from_elsewhere(own) == []


def test_the_sites_own_settings_and_files_ask_nobody():
    assert "//" not in (ROOT / "mkdocs.yml").read_text()
    assert [needed_from_elsewhere(path.read_text()) for path in (ROOT / "docs").rglob("*.css")] == [[]]


def test_formulas_of_a_page_become_mathml():
    page = r'<p>a <span class="arithmatex">\(w &lt; \sqrt{v}\)</span></p><div class="arithmatex">\[\mathbb{E}\]</div>'
    assert with_mathml(page) == (
        '<p>a <span class="arithmatex"><math><mi>w</mi><mo form="infix">&lt;</mo></math><wbr>'
        "<math><msqrt><mi>v</mi></msqrt></math></span></p>"
        '<div class="arithmatex"><math display="block"><mi mathvariant="double-struck">\U0001d53c</mi></math></div>'
    )


def test_formulas_of_a_notebooks_text_become_mathml_and_its_code_stays():
    cell = '<div class="jp-Cell jp-{}">$x$ <code>$y$</code><pre>$z$</pre> $$w$$</div>'
    drawn = '<math><mi>x</mi></math> <code>$y$</code><pre>$z$</pre> <math display="block"><mi>w</mi></math></div>'
    page = cell.format("RenderedMarkdown") + cell.format("RenderedText")
    assert with_mathml(page) == '<div class="jp-Cell jp-RenderedMarkdown">' + drawn + cell.format("RenderedText")


@pytest.mark.parametrize(
    ("tex", "lines"),
    [("a - b", 2), ("-a", 1), ("(-a)", 1), ("(a) + b = c", 3), ("a = -b", 2), (r"\frac{a + b}{c}", 1), ("f(a, +b)", 1)],
)
def test_a_line_may_end_behind_a_relation_or_a_sign_between_two_terms(tex, lines):
    assert with_mathml(rf'<span class="arithmatex">\({tex}\)</span>').count("<math>") == lines


def test_wrong_tex_stops_the_build():
    with pytest.raises(ValueError, match=r"KaTeX cannot read '.*etaa'"):
        with_mathml(r'<span class="arithmatex">\(\etaa\)</span>')
