"""A line of a parity test, and of docs/conventions.md, which is made of these lines."""

from typing import NamedTuple

import gradtx as gx

BOUND = 1e-12  # how far equal paths may be from each other, as tests.problems.apart measures it


class Row(NamedTuple):
    call: str  # the peer's, evaluated as it is written
    ours: gx.Transformation
    remark: str = ""
    apart: float = 0.0  # where no option equals the peer: how far the nearest is from it
