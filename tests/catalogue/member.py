"""A member of the catalogue: a transformation, and what the laws have to know of it."""

from dataclasses import dataclass

from gradtx.testing import Subject


@dataclass(frozen=True, eq=False)
class Member(Subject):
    needs_params: bool = False  # said here, where else the laws find it out
    elementwise: bool = True
    once: bool = False  # another member has what of it turns on versions and on wrappers
    slow: bool = False  # its laws compile for long: the checks run them in one of their environments
    factored: bool = False  # its state has arrays beside each parameter that are not of its shape
    printed: bool = True  # its repr evaluates back: it holds no function
