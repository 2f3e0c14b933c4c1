"""What is found out about a transformation, to be read in a terminal and in a notebook."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Cell = str | int | float


@dataclass(frozen=True, repr=False)
class Document:
    """Text for a terminal, as which it prints, and Markdown, as which notebooks show it."""

    text: str
    markdown: str

    def __repr__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return self.markdown


def as_table(title: str, header: Sequence[str], rows: Iterable[Sequence[Cell]], total: Sequence[Cell] = ()) -> Document:
    """A title over a table. Words in it are code, such as a path or a call; numbers stand at the right of their
    column. `total` is a last row, set apart.
    """
    body = [list(row) for row in rows]
    last = [list(total)] if total else []
    right = [any(isinstance(row[i], int | float) for row in body + last) for i in range(len(header))]

    printed = [list(header), *([as_digits(x) for x in row] for row in body + last)]
    widths = [max(map(len, column)) for column in zip(*printed, strict=True)]

    def aligned(cells: Sequence[str]) -> str:
        columns = zip(cells, widths, right, strict=True)
        return "  ".join(f"{x:>{width}}" if at_right else f"{x:<{width}}" for x, width, at_right in columns).rstrip()

    lines = list(map(aligned, printed))
    rule = "-" * max(map(len, lines))
    text = [title, "", lines[0], rule, *lines[1 : len(body) + 1], *([rule, lines[-1]] if last else [])]

    cells = [list(header), ["---:" if at_right else ":---" for at_right in right]]
    cells += [[as_code(x) if isinstance(x, str) else as_digits(x) for x in row] for row in body]
    cells += [[f"**{as_digits(x)}**" if x != "" else "" for x in row] for row in last]
    marked = [f"| {' | '.join(x.replace('|', PIPE) for x in row)} |" for row in cells]
    return Document("\n".join(text), "\n".join([f"**{title}**", "", *marked]))


PIPE = r"\|"  # in a cell of a Markdown table, code or not


def as_digits(x: Cell) -> str:
    return f"{x:,}" if isinstance(x, int) else f"{x:,.2f}" if isinstance(x, float) else x


def as_code(text: str) -> str:
    """Code in Markdown."""
    if not text:
        return ""
    return f"`` {text} ``" if "`" in text else f"`{text}`"
