"""The echo instruments from nothing but seeds: python scripts/train_echo_instruments.py all [--cache DIR]

Networks are trained on TRAIN patients, scales are set right on VAL patients, errors are measured on TEST patients with
videos as they are, lightly blurred and with a little noise. Everything is a function of the seeds and sizes.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from synthzoo.bundle.cards import fill_page
from synthzoo.cli import run
from synthzoo.instruments.echo.calibration import make_report
from synthzoo.instruments.echo.networks import NETWORKS, WEIGHTS, load_network, to_grid
from synthzoo.instruments.echo.phantoms import InstrumentVideos
from synthzoo.instruments.echo.training import CavityLoss, EFLoss
from synthzoo.training.instruments import train_instrument

VIDEOS = {64: 1600, 32: 1600, 112: 200}  # TRAIN patients by size of video
torch.set_num_threads(1)  # the same sums in the same order on every machine


def train(name: str, objective, masks: bool, iterations: int, batch_size: int, rate: float, cache, folder) -> None:
    """Train one network and store its averaged weights in half precision."""
    rows = InstrumentVideos(VIDEOS, to_grid, masks, cache)
    train_instrument(
        name, NETWORKS[name], objective, rows, iterations, batch_size, rate, cache, folder, ema_decay=0.99, amp=True
    )
    load_network.cache_clear()


def regressor(iterations: int = 560, batch_size: int = 16, cache: str | None = None, folder: str = str(WEIGHTS)):
    """Train the network that reads EF from a video."""
    train("echo_ef_regressor", EFLoss(), False, iterations, batch_size, 3e-3, cache, folder)


def cavity(iterations: int = 290, batch_size: int = 16, cache: str | None = None, folder: str = str(WEIGHTS)):
    """Train the network that finds the cavity in a frame."""
    train("echo_cavity", CavityLoss(), True, iterations, batch_size, 3e-3, cache, folder)


def calibrate(cache: str | None = None, folder: str = str(WEIGHTS), page: str | None = "docs/echo_phantom.md"):
    """Set the scales right, measure the errors, write `echo_instruments.json` and the table of `page`."""
    found = make_report(Path(folder), cache)
    if page:
        fill_page(page, "instruments", report_table(found))
    print(json.dumps(found["errors"], indent=2))


def report_table(found: dict) -> str:
    """The stated errors as Markdown."""
    lines = [
        "| instrument | video | R2 | mean error, EF points | 95 % below | slope | videos |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in ("regressor", "discs"):
        for size, kinds in found["errors"].items():
            for kind, of in kinds.items():
                e = of[name]
                points = f"{100 * e['mae']:.1f} | {100 * e['p95']:.1f} | {e['slope']:.3f}"
                lines.append(f"| {name} | {size} x {size}, {kind} | {e['r2']:.4f} | {points} | {e['n']} |")
    stills = "; ".join(
        f"{name} {100 * max(of[name]['mean'] for of in found['frozen'].values()):.1f}"
        for name in ("regressor", "discs")
    )
    return "\n".join(lines) + f"\n\nVideos that stand still read as, mean EF points at the worst size: {stills}."


def everything(cache: str | None = None, folder: str = str(WEIGHTS)):
    """Both networks, then their scales and errors."""
    regressor(cache=cache, folder=folder)
    cavity(cache=cache, folder=folder)
    calibrate(cache=cache, folder=folder)


if __name__ == "__main__":
    run({"regressor": regressor, "cavity": cavity, "calibrate": calibrate, "all": everything})
