"""The laws over every alias of Optax: python -m benchmarks.laws_of_optax writes docs/optax_laws.md anew."""

import functools
import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from textwrap import TextWrapper
from typing import Any

import jax
import optax

from gradtx.testing import LAWS, Finding, Law, Report, Subject, check_transformation, problem
from gradtx.testing.subject import nothing

PAGE = Path(__file__).parent.parent / "docs" / "optax_laws.md"
HEAD = """
`gradtx.testing.check_transformation` over every alias of Optax {optax}, on the CPU as eight devices, with JAX {jax} and
64-bit types. `python -m benchmarks.laws_of_optax` makes this page. Every alias has its defaults and, where it takes
one, the learning rate 0.1. `sgd` has momentum 0.9, `noisy_sgd` a key; `lbfgs` and `polyak_sgd` get a loss function and
its value. All get the parameters at every update. The laws of values do not apply: an Optax transformation is a pair of
functions.

A breach is not always a fault. Where it is a difference of convention, or documented by Optax, the text below says so.

`sm3` fails on 0-d arrays and on arrays without elements. The trees of nearly all laws hold such an array, so `sm3`
breaks nearly all laws. What else it would break is not seen here, and laws that only `sm3` breaks count as held.
"""
REMARKS = {
    "state_keeps_its_form": "The state takes its dtypes from the parameters at `init` and from the gradients "
    "afterwards. Under mixed precision the step is compiled twice, and `scan` refuses it.",
    "state_is_at_least_float32": "A convention: Optax holds states in the parameters' dtype (some aliases have "
    "`mu_dtype` or `accumulator_dtype` for one of them), gradtx never below float32. In bfloat16 an average with decay "
    "0.999 may move by less than one rounding, and stand still.",
    "updates_leave_in_the_wider_dtype": "Mostly a convention: these updates have the gradient's dtype, and "
    "`optax.apply_updates` adds them in the parameter's. `novograd` fails in mixed precision.",
    "without_x64_the_state_keeps_its_form": "As above, with a weak type that is gone after the first update.",
    "half_precision_computes_in_float32": "These aliases compute and hold their state in float16. Squares of gradients "
    "above 256 overflow, and the update is lost; the other differences are roundings that add up. `noisy_sgd` draws "
    "its noise in the gradient's dtype, which gives other random numbers but loses nothing.",
    "second_call_traces_nothing": "A weak type again: the step is compiled twice.",
    "differentiates": "A loop whose length is not known beforehand has no gradient in reverse mode.",
    "init_aliases_nothing": "The state of `lbfgs` can't be donated. A donated state of `noisy_sgd` takes the key with "
    "it that the next `init` needs.",
    "none_passes_through": "Where it is an error, it is a convention: Optax freezes parameters with `optax.masked`, "
    "not with None in the updates. Where it is no error, the state loses its arrays in silence.",
    "integer_leaf_stays": "A difference of opinion: Optax makes a state for an integer leaf as for any other, and most "
    "of its rules do not take None or `float0` for its update.",
    "integer_update_is_refused": "The other side of it: `optax.apply_updates` casts the sum back to integers.",
    "wrong_shape_is_refused": "In silence, an update of one row is taken for all rows and moves them all. Where the "
    "update keeps its shape, `optax.apply_updates` broadcasts it.",
    "empty_trees_stay_empty": "The tree of a model whose parameters are all frozen is empty.",
    "gradient_at_zero_is_finite": "Documented for Adam's family: to differentiate through the update, give an "
    "`eps_root` above its default, 0.",
    "complex_is_a_pair_of_reals": "A convention: to Optax a complex number is one thing, scaled by its absolute value, "
    "to torch and gradtx it is two real numbers. `novograd` holds its squares as complex numbers.",
    "dtypes_meet_explicitly": "Mostly the count of updates, an int32, that meets a float in the bias correction; the "
    "others mix float32 with bfloat16 parameters, or with the float64 that JAX has under 64-bit types.",
    "state_lies_like_its_parameters": "The numbers of a state are made on the first device. A step on a mesh moves "
    "them, and so compiles twice.",
    "no_nan_on_the_way": "The trust ratio of zeros is 0/0 and is replaced behind that: whoever looks for a NaN of his "
    "own with `jax_debug_nans` is stopped there.",
}


def aliases() -> dict[str, Any]:
    """The public names of the module in which Optax defines its optimizers, partial applications among them."""
    home = optax.adam.__module__

    def is_alias(x: Any) -> bool:
        made_of = x.func if isinstance(x, functools.partial) else x
        return inspect.isfunction(made_of) and made_of.__module__ == home

    return {name: x for name, x in vars(optax).items() if not name.startswith("_") and is_alias(x)}


def subjects() -> dict[str, Subject]:
    arguments: dict[str, dict[str, Any]] = {
        "lbfgs": {},
        "noisy_sgd": dict(learning_rate=0.1, key=jax.random.key(0)),
        "polyak_sgd": {},
        "sgd": dict(learning_rate=0.1, momentum=0.9),
    }
    measured = {"lbfgs": without_loss_fn, "polyak_sgd": without_loss_fn}
    made = {name: alias(**arguments.get(name, dict(learning_rate=0.1))) for name, alias in aliases().items()}
    return {name: Subject(tx, measured.get(name, nothing), needs_params=True) for name, tx in sorted(made.items())}


def without_loss_fn(updates: Any, params: Any) -> dict[str, Any]:
    return {name: x for name, x in problem(updates, params).items() if name != "loss_fn"}


def report(subject: Subject) -> Report:
    return check_transformation(subject.tx, extra=subject.extra, needs_params=subject.needs_params)


# ---- the page ----


def page(reports: dict[str, Report]) -> str:
    head = HEAD.format(optax=optax.__version__, jax=jax.__version__)
    applying = [law for law in LAWS if any(of(law, one).verdict != "does not apply" for one in reports.values())]
    broken = [law for law in applying if set(breaches(law, reports)) - {"sm3"}]
    held = f"Held by all: {listed(law.name for law in applying if law not in broken)}."
    sections = [section(i, law, reports) for i, law in enumerate(broken, 1)]
    return "\n".join(["# What the laws find in Optax", head, fill(held), "", table(broken, reports), *sections])


def of(law: Law, report: Report) -> Finding:
    return next(finding for finding in report.findings if finding.law is law)


def table(laws: list[Law], reports: dict[str, Report]) -> str:
    """A line for each alias, a column for each law that one of them breaks, by its number."""
    lines = [["", *map(str, range(1, len(laws) + 1))], ["---", *[":-:"] * len(laws)]]
    for name, one in reports.items():
        lines.append([f"`{name}`", *("✗" if of(law, one).broken else "" for law in laws)])
    lines.append(["broken", *(str(len(breaches(law, reports))) for law in laws)])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def breaches(law: Law, reports: dict[str, Report]) -> dict[str, Any]:
    return {name: broken for name, one in reports.items() if (broken := of(law, one).broken)}


def section(number: int, law: Law, reports: dict[str, Report]) -> str:
    """What the law says, what its breach means, and the smallest example of each kind of breach."""
    found = breaches(law, reports)
    kinds: dict[str, list[str]] = {}
    for name, broken in found.items():
        kinds.setdefault(kind(broken), []).append(name)
    lines = [f"## {number}. `{law.name}`", "", fill(f"{law.statement} {REMARKS.get(law.name, '')}".strip()), ""]
    for first, *others in kinds.values():
        text = found[first].finding.replace("][", r"]\[")  # else it is a link
        example = f"- `{first}`, {text}".rstrip(".")
        lines.append(fill(example + (f"; likewise {listed(others)}." if others else "."), subsequent_indent="  "))
    return "\n".join(lines) + "\n"


def kind(broken: Any) -> str:
    """What is left of a breach without the numbers, the names of fields, and the dtypes."""
    text = re.sub(r"state\S*", "state", f"{broken.expected} | {broken.got}")
    return re.sub(r"-?(\d[\d.e-]*|nan|inf)", "#", re.sub(r"(b?float|complex)\d+\S*", "array", text))


def fill(text: str, subsequent_indent: str = "") -> str:
    wrapper = TextWrapper(120, subsequent_indent=subsequent_indent, break_long_words=False, break_on_hyphens=False)
    return wrapper.fill(text)


def listed(names: Iterable[str]) -> str:
    *most, last = (f"`{name}`" for name in names)
    return f"{', '.join(most)} and {last}" if most else last


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_num_cpu_devices", 8)
    reports: dict[str, Report] = {}
    for name, subject in subjects().items():
        reports[name] = report(subject)
        print(name, reports[name].title.partition(": ")[2], flush=True)
    PAGE.write_text(page(reports))
    print(f"The table is in {PAGE.relative_to(Path.cwd())}.")


if __name__ == "__main__":
    main()
