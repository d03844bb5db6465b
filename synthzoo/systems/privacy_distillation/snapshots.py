"""Weights along a training, since how long a teacher learns decides what it repeats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ignite.engine import Events

from synthzoo.networks.saving import save_weights

NAME = "snapshot-{:06d}.pt"


class SaveSnapshots:
    """Handler that writes the averaged weights every so many iterations as `snapshot-<iteration>.pt`.

    Args:
        folder: of the files; None, as of a training without checkpoints, writes none.
        every: iterations; None writes none.
    """

    def __init__(self, folder: str | Path | None, every: int | None = None) -> None:
        self.folder, self.every = Path(folder or "."), every if folder is not None else None

    def attach(self, engine: Any) -> None:
        """Write while the engine runs."""
        if self.every:
            engine.add_event_handler(Events.ITERATION_COMPLETED(every=int(self.every)), self)

    def __call__(self, engine: Any) -> None:
        """Write the weights of this iteration."""
        network = engine.network if engine.ema is None else engine.ema
        if engine.rank == 0:
            save_weights(network, self.folder / NAME.format(engine.state.iteration), half=True)


def snapshots(folder: Path) -> dict[int, Path]:
    """The snapshots of a training by iteration, ascending."""
    return {int(path.stem.split("-")[1]): path for path in sorted(folder.glob(NAME.split("{")[0] + "*.pt"))}
