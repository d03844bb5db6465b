"""The chest instruments from nothing but seeds: python scripts/train_chest_instruments.py all [--cache DIR]

CT has an instrument of its own, `ct`. Networks are trained on TRAIN patients, scores are set right on VAL patients,
errors and controls are measured on TEST patients. Everything is a function of the seeds and sizes.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch.utils.data import Dataset

from synthzoo.bundle.cards import fill_page
from synthzoo.cli import run
from synthzoo.instruments.chest import ct as chest_ct
from synthzoo.instruments.chest import ct_training
from synthzoo.instruments.chest.calibration import make_report
from synthzoo.instruments.chest.findings import is_pointed_at, is_told
from synthzoo.instruments.chest.networks import NETWORKS, WEIGHTS, load_network
from synthzoo.instruments.chest.phantoms import InstrumentRadiographs, PatientPairs
from synthzoo.instruments.chest.training import FindingLoss, IdentityLoss, OrganLoss
from synthzoo.instruments.identities import identity_table
from synthzoo.instruments.volume_network import ShareLoss
from synthzoo.phantoms.chest.truth import GRADES
from synthzoo.training.instruments import train_instrument

torch.set_num_threads(1)  # the same sums in the same order on every machine


def train(name: str, objective, rows: Dataset, iterations: int, batch_size: int, rate: float, cache, folder, **more):
    """Train one network and store its averaged weights in half precision."""
    sizes = (iterations, batch_size, rate)
    train_instrument(name, NETWORKS[name], objective, rows, *sizes, cache, folder, ema_decay=0.97, **more)
    load_network.cache_clear()


def findings(iterations: int = 1000, batch_size: int = 32, cache: str | None = None, folder: str = str(WEIGHTS)):
    """Train the network that finds findings."""
    rows = InstrumentRadiographs(cache)
    train("chest_findings", FindingLoss(), rows, iterations, batch_size, 2e-3, cache, folder, amp=True)


def organs(iterations: int = 800, batch_size: int = 16, cache: str | None = None, folder: str = str(WEIGHTS)):
    """Train the network that draws lungs and heart."""
    train("chest_organs", OrganLoss(), InstrumentRadiographs(cache), iterations, batch_size, 3e-3, cache, folder)


def identity(iterations: int = 400, batch_size: int = 24, cache: str | None = None, folder: str = str(WEIGHTS)):
    """Train the network that tells patients apart."""
    train("chest_identity", IdentityLoss(), PatientPairs(cache), iterations, batch_size, 2e-3, cache, folder)


def calibrate(cache: str | None = None, folder: str = str(WEIGHTS), page: str | None = "docs/chest_instruments.md"):
    """Set scores right, measure the errors, write `chest_instruments.json` and the tables of `page`."""
    found = make_report(Path(folder), cache)
    if page:
        fill_page(page, "instruments", report_table(found))
    print(json.dumps({name: found[name] for name in ("findings", "organs", "identity")}, indent=2))


def report_table(found: dict) -> str:
    """The stated errors and their controls as Markdown."""
    sizes = [
        f"{number} {split} patients ({found['phantoms']['studies'][split]} studies)"
        for split, number in found["phantoms"]["patients"].items()
    ]
    lines = [
        f"Of {', '.join(sizes)}:",
        "",
        "| finding | measured, its place | AUROC (95 %) | by severity | raw pixels | shuffled | Brier score, of its "
        "share | pointing | prior | chance | with it |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, e in found["findings"].items():
        control = e["controls"]
        grades = [f"{e['by_severity'][name]:.2f}" if name in e["by_severity"] else "-" for name in GRADES]
        judged = ", ".join("yes" if judge(e) else "**no**" for judge in (is_told, is_pointed_at))
        lines.append(
            f"| {kind} | {judged} | {e['auroc']:.3f} ({e['interval'][0]:.3f} to {e['interval'][1]:.3f}) | "
            f"{', '.join(grades)} | {control['auroc_raw_pixels']:.2f} | {control['auroc_shuffled']:.2f} | "
            f"{e['brier']:.3f}, {control['brier_share']:.3f} | {100 * e['pointing']:.0f} % | "
            f"{100 * control['pointing_prior']:.0f} % | {100 * control['pointing_chance']:.1f} % | "
            f"{e['positives']} of {e['positives'] + e['negatives']} |"
        )
    e, ratio = found["organs"], found["organs"]["ctr"]
    lines += [
        "",
        "| lungs and heart | instrument | control |",
        "|---|---|---|",
        f"| Dice of lungs, of heart | {e['dice_lungs']:.3f}, {e['dice_heart']:.3f} | |",
        f"| mean error of the ratio | {ratio['mae']:.4f} | {e['ctr_mae_of_the_mean']:.4f}, saying the mean |",
        f"| 95 % of errors below | {e['ctr_p95']:.4f} | |",
        f"| r with the truth | {ratio['r']:.3f} | {ratio['shuffled']['r']:.3f}, shuffled |",
        f"| AUROC of an enlarged heart | {e['enlarged_auroc']:.3f} | |",
        "",
        *identity_table(found["identity"], "whose radiograph"),
    ]
    return "\n".join(lines)


def ct(
    iterations: int = 600,
    batch_size: int = 2,
    sizes: tuple[int, int, int] = (160, 48, 48),
    cache: str | None = None,
    folder: str = str(WEIGHTS),
    page: str | None = "docs/chest_instruments.md",
    init_from: str | None = None,
):
    """Train the network that measures CT, set it right, and write its errors, `chest_ct.json` and the table of `page`.

    Args:
        iterations, batch_size: of the training.
        sizes: training, validation and test subjects.
        cache: folder of phantoms and checkpoints.
        folder: of the weights.
        page: where the table goes; None writes none.
        init_from: weights to go on from, of a first run; None begins with none.
    """
    rows, weights = ct_training.InstrumentChests("train", sizes[0], cache), ct_training.WEIGHTS_OF_CLASSES
    loss = ShareLoss(chest_ct.centred, least=60.0, weights=weights)
    what = (chest_ct.NAME, chest_ct.ChestNet, loss, rows, iterations, batch_size, 4e-3)
    train_instrument(*what, cache, folder, ema_decay=0.98, amp=True, init_from=init_from)
    found = ct_training.make_report(folder, sizes, cache)
    if page:
        fill_page(page, "ct", ct_training.report_table(found))
    print(json.dumps(found["errors"], indent=2))


def everything(cache: str | None = None, folder: str = str(WEIGHTS)):
    """All networks, then their scales and errors; that of CT in two runs, the second from the first's weights."""
    for stage in (identity, organs, findings, calibrate):
        stage(cache=cache, folder=folder)
    ct(folder=f"{folder}/first", page=None)
    ct(800, cache=cache, folder=folder, init_from=f"{folder}/first/{chest_ct.NAME}.pt")


if __name__ == "__main__":
    run(
        {
            "findings": findings,
            "organs": organs,
            "identity": identity,
            "calibrate": calibrate,
            "ct": ct,
            "all": everything,
        }
    )
