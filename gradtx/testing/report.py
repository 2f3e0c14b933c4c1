"""All laws at once, and what they found."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optax

from gradtx.testing import laws_of_devices, laws_of_leaves, laws_of_settings, laws_of_updates, laws_of_values
from gradtx.testing.law import Broken, Law
from gradtx.testing.subject import Subject, nothing, refuse
from gradtx.values.errors import Refusal, errors_of
from gradtx.values.printing import excerpt
from gradtx.values.value import text_of

LAWS = tuple(
    x
    for module in (laws_of_updates, laws_of_leaves, laws_of_values, laws_of_settings, laws_of_devices)
    for x in vars(module).values()
    if isinstance(x, Law)
)
"""All laws, in the order in which they are run.

>>> from gradtx.testing import LAWS
>>> for law in LAWS[:2]:
...     print(f"{law.name}: {law.statement}")
state_keeps_its_form: The state after an update has the structure, shapes, dtypes and weak types that `init` gave.
state_is_at_least_float32: A state is held in at least float32, whatever the dtype of the parameters.
"""

QUICK = (
    laws_of_updates.state_keeps_its_form,
    laws_of_updates.state_is_at_least_float32,
    laws_of_updates.updates_leave_in_the_wider_dtype,
    laws_of_updates.same_arguments_same_result,
    laws_of_updates.second_call_traces_nothing,
    laws_of_leaves.init_aliases_nothing,
    laws_of_leaves.none_passes_through,
    laws_of_leaves.integer_leaf_stays,
    laws_of_leaves.integer_update_is_refused,
    laws_of_leaves.wrong_shape_is_refused,
    laws_of_leaves.zeros_stay_finite,
    laws_of_values.value_round_trips,
    laws_of_values.values_differ_by_their_numbers,
    laws_of_values.arrays_serve_as_numbers,
    laws_of_values.every_hyperparameter_matters,
    laws_of_settings.no_tracer_leaks,
    laws_of_settings.dtypes_meet_explicitly,
)
"""Those of `LAWS` that compile next to nothing: what `check_transformation(tx, quick=True)` runs, in seconds.

>>> import gradtx
>>> from gradtx.testing import LAWS, QUICK, check_transformation
>>> set(QUICK) < set(LAWS), check_transformation(gradtx.identity(), quick=True).quick
(True, True)
"""


@dataclass(frozen=True)
class Finding:
    """What one law found: held, unless it is broken or there is an excuse why it does not apply.

    >>> import gradtx
    >>> from gradtx.testing import check_transformation, zeros_stay_finite
    >>> finding = check_transformation(gradtx.adam(1e-3), laws=[zeros_stay_finite]).findings[0]
    >>> finding.law, finding.verdict
    (zeros_stay_finite, 'held')
    """

    law: Law
    broken: Broken | None = None
    excuse: str = ""

    @property
    def verdict(self) -> str:
        return "broken" if self.broken else "does not apply" if self.excuse else "held"


@dataclass(frozen=True)
class Report:
    """What the laws found about a transformation. It prints as a table; notebooks show it as one.

    >>> import gradtx
    >>> from gradtx.testing import check_transformation, zeros_stay_finite
    >>> report = check_transformation(gradtx.adam(1e-3), laws=[zeros_stay_finite])
    >>> report
    adam(learning_rate=0.001): 1 held
      held            zeros_stay_finite
    >>> report.held
    True
    """

    name: str
    findings: tuple[Finding, ...]
    quick: bool = False  # whether only the laws of `QUICK` were run

    @property
    def broken(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.broken)

    @property
    def held(self) -> bool:
        """Whether every law that applies was held."""
        return not self.broken

    def raise_if_broken(self) -> None:
        """Raise an `AssertionError` with the whole report, unless every law that applies was held."""
        if self.broken:
            raise AssertionError(f"{self}")

    @property
    def title(self) -> str:
        verdicts = [finding.verdict for finding in self.findings]
        counts = (f"{verdicts.count(x)} {x}" for x in ("held", "broken", "does not apply") if x in verdicts)
        rest = f" (quick: {len(self.findings)} of {len(LAWS)} laws)" if self.quick else ""
        return f"{self.name}: " + ", ".join(counts) + rest

    def __repr__(self) -> str:
        lines = [self.title]
        for finding in self.findings:
            reason = f": {finding.excuse}" if finding.excuse else ""
            lines.append(f"  {finding.verdict:14}  {finding.law.name}{reason}")
            if finding.broken:
                lines += [f"{'':18}{line}" for line in (finding.law.statement, str(finding.broken))]
        return "\n".join(lines)

    def _repr_markdown_(self) -> str:
        rows = ["| law | | |", "| --- | --- | --- |"]
        for finding in self.findings:
            words = str(finding.broken or finding.excuse).replace("|", "\\|")
            verdict = f"**{finding.verdict}**" if finding.broken else finding.verdict
            rows.append(f"| {finding.law.name.replace('_', ' ')} | {verdict} | {words} |")
        return f"**{self.title}**\n\n" + "\n".join(rows) + "\n"


def check_transformation(
    tx: optax.GradientTransformation,
    *,
    extra: Callable[[Any, Any], dict[str, Any]] = nothing,
    needs_params: bool | None = None,
    elementwise: bool = False,
    pairs: bool = True,
    unused: tuple[str, ...] = (),
    copies_params: bool = False,
    selects: bool = False,
    own_count: bool = False,
    writes: bool = False,
    refuses: tuple[Any, ...] = (),
    quick: bool = False,
    laws: Sequence[Law] | None = None,
) -> Report:
    """Run the laws on a transformation, gradtx's or a plain Optax one, and report what each of them found.

    In a test: `check_transformation(tx).raise_if_broken()`.

    - `tx`: the transformation.
    - `extra`: a function of updates and params that gives the extra arguments of `update`; `problem` and `measured`
      give those of line searches and of what a loss drives. Default: none.
    - `needs_params`: whether `update` can't do without the parameters. Default: whether it says so, by a `ValueError`
      that speaks of them, as gradtx's and Optax's do.
    - `elementwise`: whether no array's update depends on another array; the laws of dtypes are then faster.
      Default: false.
    - `pairs`: whether a complex number counts as a pair of reals. Default: true.
    - `unused`: the paths of hyperparameters, as `hyperparameters(tx)` writes them, that do nothing to the updates, or
      that may not be given with the others. Default: none.
    - `copies_params`: whether the state holds parameters in their own dtypes. Default: false.
    - `selects`: whether it leaves some arrays alone, which may then be integers. Default: false.
    - `own_count`: whether its schedules count something else than the updates. Default: false.
    - `writes`: whether its updates decide how parameters of 16 bits are written, in float32. Default: false.
    - `refuses`: the dtypes of parameters that it refuses. Default: none.
    - `quick`: whether to run those laws alone that compile next to nothing, `QUICK`: seconds in the place of a minute.
      They find most of what goes wrong: dtypes that drift, buffers that are shared, numbers that are dropped, leaks.
      They don't compare results: in `scan`, under `vmap`, in half precision, of schedules. Default: false.
    - `laws`: those to run. Default: all, `LAWS`.

    A law is first tried on a tree that has everything; where it is broken, on smaller ones, and the smallest that
    breaks it is reported. Nothing of JAX's configuration is changed; without x64, 64-bit dtypes are left out.

    **Raises:** `TypeError` for what is no transformation, no function, no law; `ValueError` for an unknown path. What
    the transformation raises is reported.

    >>> import gradtx, optax
    >>> from gradtx.testing import check_transformation, init_aliases_nothing, value_round_trips
    >>> keep = optax.GradientTransformation(lambda params: params, lambda updates, state, params=None: (updates, state))
    >>> check_transformation(keep, laws=[init_aliases_nothing, value_round_trips])  # doctest: +ELLIPSIS
    <...>: 1 broken, 1 does not apply
      broken          init_aliases_nothing
                      A fresh state shares no buffer with the parameters or with another one, and so can be donated.
                      on params and updates float32[]: expected buffers of its own in a fresh state, got state is ...
      does not apply  value_round_trips: it is a plain pair
    """
    with errors_of("check_transformation"):
        refuse(tx, extra, unused)
        if quick and laws is not None:
            raise Refusal(ValueError, "quick chooses the laws itself, got quick=True and laws; give one of the two")
        laws = (QUICK if quick else LAWS) if laws is None else laws
        if not isinstance(laws, list | tuple):
            raise Refusal(TypeError, f"laws must be a list of laws, got {type(laws).__name__} {excerpt(laws)}")
        for i, law in enumerate(laws):
            if not isinstance(law, Law):
                raise Refusal(TypeError, f"laws[{i}] must be a law, got {type(law).__name__} {excerpt(law)}")
    flags = elementwise, pairs, unused, copies_params, selects, own_count, writes, refuses
    subject = Subject(tx, extra, needs_params, *flags)
    with older_objects_set_aside():
        return Report(text_of(tx), tuple(judge(law, subject) for law in laws), quick)


@contextmanager
def older_objects_set_aside() -> Iterator[None]:
    """Looking for leaks, JAX collects garbage at each trace: it need not go through what was there before."""
    if gc.get_freeze_count():  # by the program around, whose decision that is
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def judge(law: Law, subject: Subject) -> Finding:
    if excuse := law.excuse(subject):
        return Finding(law, excuse=excuse)
    try:
        law(subject)
    except Broken as broken:
        return Finding(law, broken)
    return Finding(law)
