"""Mathematics of docstrings for a terminal: the TeX that they use, in the characters of Unicode."""

# ruff: noqa: RUF001
import re
from collections.abc import Iterator

TEX_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\s+|.", re.DOTALL)
UNBROKEN = "\u00a0"
MATHEMATICS = re.compile(r"(`[^`]*`)|\$\$(.+?)\$\$|\$(.+?)\$", re.DOTALL)  # but none in code

GREEK = (
    "alpha α beta β gamma γ delta δ epsilon ϵ varepsilon ε zeta ζ eta η theta θ kappa κ lambda λ mu μ nu ν xi ξ pi π"
    " rho ρ sigma σ tau τ phi ϕ varphi φ chi χ psi ψ omega ω Delta Δ Theta Θ Lambda Λ Sigma Σ Phi Φ Psi Ψ Omega Ω"
)
TEX_SIGNS = (
    "leftarrow ← to → mapsto ↦ cdot · times × odot ⊙ otimes ⊗ pm ± le ≤ ge ≥ ne ≠ approx ≈ in ∈ notin ∉ infty ∞ dots …"
    " ldots … cdots ⋯ ell ℓ nabla ∇ partial ∂ prod ∏ sum ∑ top ⊤ lVert ‖ rVert ‖ lvert | rvert | lfloor ⌊ rfloor ⌋"
    " lceil ⌈ rceil ⌉ langle ⟨ rangle ⟩"
)
WORDS = ["max", "min", "cos", "sin", "tanh", "log", "exp", "sign", "arg", "sup", "inf", "lim"]
SPACES = [r"\,", r"\ ", r"\;", r"\:", r"\quad", r"\qquad"]
ACCENTS = {r"\hat": "\u0302", r"\bar": "\u0304", r"\tilde": "\u0303", r"\dot": "\u0307"}
UPRIGHT = {r"\operatorname", r"\mathrm", r"\mathbb", r"\text"}
PREFIXES = {r"\lVert", r"\lvert", r"\lfloor", r"\lceil", r"\langle", r"\nabla", r"\partial", r"\pm"}  # no space follows
FRACTIONS = {r"\frac", r"\tfrac", r"\dfrac"}

NAMED = f"{GREEK} {TEX_SIGNS}".split()
BRACKETS = {r"\left": "", r"\right": "", r"\{": "{", r"\}": "}", r"\|": "‖"}
SIGN = {rf"\{name}": sign for name, sign in zip(NAMED[::2], NAMED[1::2], strict=True)} | BRACKETS
RAISED = str.maketrans("0123456789+-=()abcdefghijklmnoprstuvwxyz⊤", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᵀ")
LOWERED = str.maketrans("0123456789+-=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ")


class UnknownError(Exception):
    """Some TeX that has no form here."""


def readable(prose: str) -> str:
    """The prose with its mathematics in Unicode, `without_breaks`; a formula that can't be written so stays TeX."""

    def form(match: re.Match[str]) -> str:
        code, display, inline = match.groups()
        return code or as_unicode(display or inline) or match.group()

    return MATHEMATICS.sub(form, prose)


def readable_docstring(doc: str | None) -> str | None:
    """A docstring as `help()` shows it: the mathematics of its prose in Unicode, its examples as they are."""
    if doc is None:
        return None
    paragraphs = re.split(r"(\n\s*\n)", doc)
    prose = [p if p.lstrip().startswith(">>>") else readable(p).replace(UNBROKEN, " ") for p in paragraphs]
    return "".join(prose)


def as_unicode(tex: str) -> str | None:
    """A formula in Unicode, None where something in it is not known here."""
    try:
        text = group(iter(TEX_TOKEN.findall(tex)), end=None)
    except (UnknownError, StopIteration):
        return None
    return without_breaks(" ".join(text.split()))


def without_breaks(text: str) -> str:
    """The text with spaces at which it is not wrapped, unless it is long."""
    return text.replace(" ", UNBROKEN) if len(text) <= 60 else text


def group(tokens: Iterator[str], end: str | None) -> str:
    """What stands before the end of a group."""
    text, before = "", ""
    for token in tokens:
        if token == end:
            return text
        if token.isspace() and before in PREFIXES:
            continue
        part = element(token, tokens)
        if word(token) and re.search(r"[^\W_]$|[)\u0300-\u036f₀-ₜ]$", text):
            part = " " + part  # else it would read as one with what stands before it
        text += part
        before = token
    if end:
        raise UnknownError(end)
    return text


def word(token: str) -> bool:
    return token in UPRIGHT or token[1:] in [*WORDS, "sum", "prod"]


def element(token: str, tokens: Iterator[str]) -> str:
    """A symbol, or what a command makes of its arguments."""
    if token in SPACES or token.isspace():
        return " "
    if token == "{":
        return group(tokens, "}")
    if token in SIGN:
        return SIGN[token]
    if token[1:] in WORDS:
        return token[1:]
    if token in UPRIGHT:
        return argument(tokens)
    if token in ACCENTS:
        base = argument(tokens)
        if len(base) != 1:
            raise UnknownError(token)
        return base + ACCENTS[token]
    if token == r"\sqrt":
        return "√" + enclose(argument(tokens))
    if token in FRACTIONS:
        over, under = argument(tokens), argument(tokens)
        return "½" if (over, under) == ("1", "2") else f"{enclose(over)}/{enclose(under)}"
    if token in "^_":
        return script(token, argument(tokens))
    if token.startswith("\\") or token in "}&~#%":
        raise UnknownError(token)
    return token


def argument(tokens: Iterator[str]) -> str:
    token = next(tokens)
    while token.isspace():
        token = next(tokens)
    return element(token, tokens)


def enclose(text: str) -> str:
    """In parentheses, unless it is one symbol."""
    letters = re.sub(r"[\u0300-\u036f₀-ₜ]", "", text)
    return text if len(letters) == 1 or text.isdigit() else f"({text})"


def script(token: str, text: str) -> str:
    """A superscript or a subscript, raised or lowered where there are characters for it."""
    text = re.sub(r"\s", "", text)
    table = RAISED if token == "^" else LOWERED
    name = len(text) > 1 and text.isalpha()  # such as max, which is easier to read as it is
    if not name and all(ord(character) in table for character in text):
        return text.translate(table)
    closed = re.fullmatch(r"⌊[^⌊⌋]*⌋|\w+|.", text)
    return token + (text if closed else f"({text})")
