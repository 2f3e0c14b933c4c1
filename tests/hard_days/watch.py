"""What Python does behind a call's back: imports, code that is run from text, files and programs that are opened."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

# `compile` is no such event: `ast.parse` raises it too, and what it makes is never run without `exec`.
FORBIDDEN = (
    "import",
    "exec",
    "open",
    "os.",
    "subprocess.",
    "socket.",
    "ctypes.dlopen",
    "pickle.",
    "marshal.",
    "shutil.",
)
seen: list[str] | None = None  # None where nobody is watching


def hear(event: str, arguments: tuple[object, ...]) -> None:
    if seen is not None and event.startswith(FORBIDDEN):
        seen.append(f"{event} {arguments!r:.80}")


sys.addaudithook(hear)  # for good: Python takes none back


@contextmanager
def nothing_happens() -> Iterator[None]:
    """Nothing of that kind does."""
    global seen  # the hook can't be given another one
    seen = found = []
    try:
        yield
    finally:
        seen = None
    assert not found, found
