"""Checkpoints of a run, from which it goes on to the bits that it would have had without a break."""

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import gradtx

SETTINGS = "settings.json"


class Progress(NamedTuple):
    """What a run has measured so far."""

    losses: list[float]  # of each step
    curve: list[tuple[int, float, float]]  # steps done, seconds, held-out loss
    seconds: float

    def step(self, loss: float, seconds: float) -> "Progress":
        return self._replace(losses=[*self.losses, loss], seconds=self.seconds + seconds)

    def look(self, loss: float) -> "Progress":
        return self._replace(curve=[*self.curve, (len(self.losses), self.seconds, loss)])


class Checkpoints:
    """Those of one run, in a directory of their own: the last two, each whole or not there."""

    def __init__(self, folder: Path):
        import orbax.checkpoint as ocp

        logging.getLogger("absl").setLevel(logging.ERROR)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=2, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        self.manager, self.args = ocp.CheckpointManager(folder.absolute(), options=options), ocp.args

    def latest(self) -> int | None:
        return self.manager.latest_step()

    def save(self, tx: gradtx.Transformation, params: Any, state: Any, progress: Progress) -> None:
        args = self.args
        trees = {"params": args.StandardSave(params), "state": args.StandardSave(gradtx.to_flat(tx, state))}
        measured = args.JsonSave(progress._asdict())
        self.manager.save(len(progress.losses), args=args.Composite(**trees, progress=measured))

    def restore(self, tx: gradtx.Transformation, params: Any) -> tuple[Any, Any, Progress]:
        """The last one, laid out as these parameters are."""
        args = self.args

        def place(x: Any, sharding: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

        state = jax.tree.map(place, jax.eval_shape(tx.init, params), gradtx.state_shardings(tx, params))
        trees = {
            "params": args.StandardRestore(jax.tree.map(lambda x: place(x, x.sharding), params)),
            "state": args.StandardRestore(gradtx.to_flat(tx, state)),
        }
        found: Any = self.manager.restore(self.latest(), args=args.Composite(**trees, progress=args.JsonRestore()))
        params = jax.tree.map(jnp.copy, found.params)  # for the step to donate
        return params, gradtx.from_flat(tx, params, found.state), Progress(**found.progress)


def begin_anew(folder: Path, settings: Mapping[str, Any]) -> None:
    """An empty directory for a run with these settings, in the place of an earlier run's."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    whole = folder / f"{SETTINGS}.new"
    whole.write_text(json.dumps(settings, indent=1))
    whole.replace(folder / SETTINGS)


def is_of_others(folder: Path) -> bool:
    """Whether there is something in it that no run has made."""
    return (
        folder.exists()
        and not (folder / SETTINGS).exists()
        and any(not x.name.startswith(SETTINGS) for x in folder.iterdir())
    )


def differing(folder: Path, settings: Mapping[str, Any]) -> str:
    """In what the run in this directory was another one, if there is one and it was."""
    path = folder / SETTINGS
    if not path.exists():
        return ""
    before = json.loads(path.read_text())
    return next(
        (f"its {name} was {before.get(name)}, not {x}" for name, x in settings.items() if before.get(name) != x), ""
    )
