"""The main job: trains networks with several optimizers and compares them.

A classifier of handwritten digits, or a small language model, or paths over a surface:

python -m gradtx.demo
python -m gradtx.demo --only adam --optimizer 'chain(clip_by_norm(1.0), adam(cosine(3e-3, 500)))'
python -m gradtx.demo --only sgd --schedule 'warmup(1.0, 30).then(cosine(1.0, 570), at=30)'
python -m gradtx.demo --config adamw.json
python -m gradtx.demo --surface ravine
python -m gradtx.demo text --only adamw --only muon
python -m gradtx.demo text --only adamw --devices 4 --resume
"""

import argparse
import importlib.util
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp

from gradtx.demo import reports, text_report
from gradtx.demo.digits import initial, load
from gradtx.demo.options import STEPS, UnsuitableError, chosen, command_line, refuse_options_of_others
from gradtx.demo.processes import make_devices, run_workers
from gradtx.demo.resume import SETTINGS, begin_anew, differing, is_of_others
from gradtx.demo.surfaces import SURFACES
from gradtx.demo.text import DEFAULT, QUICK, Setup, load_text, mesh_over
from gradtx.demo.transformer import initial_weights

EXTRAS = {"matplotlib": "matplotlib", "rich": "rich"}  # the packages by their modules
EXTRAS_OF_DIGITS, EXTRAS_OF_TEXT = {"sklearn": "scikit-learn"}, {"orbax": "orbax-checkpoint"}
MOST = 1_000_000  # steps over a surface, all of which are kept and drawn
Job = Callable[[], reports.ProgressReport]


def run_training(given: argparse.Namespace) -> Job:
    steps, size, seed = given.steps or STEPS["digits"], given.batch_size or 64, given.seed or 0
    digits = load()
    if size > (images := len(digits.train[0])):
        raise UnsuitableError(f"argument --batch-size: there are {images} training images, got {size}")
    compared = chosen(given, "digits", steps, initial(0))
    return lambda: reports.of_training(compared, digits, steps, size, seed, given.schedule)


def run_walk(given: argparse.Namespace) -> Job:
    steps = given.steps or STEPS[given.surface]
    for option, value in {"--batch-size": given.batch_size, "--seed": given.seed}.items():
        if value is not None:
            raise UnsuitableError(f"argument {option}: a surface has no images and no random start; leave it out")
    if steps > MOST:
        raise UnsuitableError(f"argument --steps: must be at most {MOST} over a surface, got {steps}")
    compared = chosen(given, given.surface, steps, jnp.array(SURFACES[given.surface].start))
    return lambda: reports.of_surface(compared, given.surface, steps, given.schedule)


def run_text(given: argparse.Namespace, arguments: Sequence[str]) -> Job:
    default = QUICK if given.quick else DEFAULT
    setup = Setup(default.size, given.steps or default.steps, given.batch_size or default.rows, given.seed or 0)
    text, count = load_text(), (given.devices or 1) * (given.processes or 1)
    if setup.rows > (passages := len(text.train) - setup.size.context):
        raise UnsuitableError(f"argument --batch-size: there are {passages} training passages, got {setup.rows}")
    if setup.rows % count:
        share = f"{setup.rows} passages can't be shared evenly by {count} devices; give a multiple of {count}"
        raise UnsuitableError(f"argument --batch-size: {share}")
    if (given.devices or given.processes) and not make_devices(given.devices or 1):
        has = f"JAX runs already, with {jax.local_device_count()} devices"
        raise UnsuitableError(f"argument --devices: {has}; start a new process, got {given.devices}")
    compared = chosen(given, "text", setup.steps, initial_weights(0, setup.size))
    folder, is_worker = given.out / "text", jax.distributed.is_initialized()
    for name, tx in {} if is_worker else compared.items():
        own = text_report.folder_of(name, folder)
        if is_of_others(own):
            raise UnsuitableError(
                f"argument --out: {str(own)!r} holds files that no run of this has left; give another folder"
            )
        if given.resume and (found := differing(own, text_report.settings_of(tx, setup, text))):
            raise UnsuitableError(
                f"argument --resume: the checkpoints in {str(own)!r} are those of another run: {found};"
                " give the command that made them, or leave --resume out and begin anew"
            )

    def train() -> reports.ProgressReport:
        for name, tx in compared.items():
            own = text_report.folder_of(name, folder)
            if not is_worker and not (given.resume and (own / SETTINGS).exists()):
                begin_anew(own, text_report.settings_of(tx, setup, text))
        if given.processes and not is_worker:
            run_workers(arguments, given.processes)
            sys.exit()
        mesh = mesh_over(jax.devices()[:count])
        return text_report.of_text(compared, setup, mesh, folder, given.schedule)

    return train


def job_of(given: argparse.Namespace, arguments: Sequence[str]) -> Job:
    refuse_options_of_others(given)
    if given.task:
        return run_text(given, arguments)
    return run_walk(given) if given.surface else run_training(given)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train or walk, print the table, write the figure."""
    parser = command_line(__doc__)
    arguments = sys.argv[1:] if arguments is None else arguments
    given = parser.parse_args(arguments)
    extras = EXTRAS | (EXTRAS_OF_TEXT if given.task else EXTRAS_OF_DIGITS)
    missing = [name for module, name in extras.items() if importlib.util.find_spec(module) is None]
    if missing:
        parser.error(f"{' and '.join(missing)} not installed; pip install {' '.join(missing)}")
    try:
        job = job_of(given, arguments)
    except UnsuitableError as error:
        parser.error(str(error))
    made = given.out / "text" if given.task else given.out
    try:
        made.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"argument --out: can't make the directory {str(made)!r}: {error.strerror}")

    try:
        report = job()
    except KeyboardInterrupt:
        if not given.task:
            raise
        again = shlex.join(["python", "-m", "gradtx.demo", *arguments, *["--resume"] * (not given.resume)])
        print(f"Stopped. {again} goes on from the last checkpoint.", file=sys.stderr)
        sys.exit(130)
    if jax.process_index() > 0:
        return
    print(*reports.optimizer_table(report), "", reports.wrap_text(report.note), sep="\n")
    if report.sample:
        print("", report.sample, "", sep="\n")
    path = given.out / f"{given.task or given.surface or 'optimizers'}.png"
    draw_to(path, report, parser)


def draw_to(path: Path, report: reports.ProgressReport, parser: argparse.ArgumentParser) -> None:
    try:
        report.draw(path)
    except OSError as error:
        parser.error(f"argument --out: can't write {str(path)!r}: {error.strerror}")
    print(f"{report.figure}: {path}")


if __name__ == "__main__":
    main()
