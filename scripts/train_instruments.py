"""The brain instruments from nothing but seeds: python scripts/train_instruments.py all

Rules and network are fitted on subjects of the training seeds, slopes are set right on the validation seeds (100000
onwards), errors are measured on the test seeds (200000 onwards), on sharp images and on blurred copies. Everything is
a pure function of the seeds and sizes.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from synthzoo.bundle.cards import fill_page
from synthzoo.cli import run
from synthzoo.datasets.loader import SeededLoader
from synthzoo.instruments.brain import segmentation as brain_segmentation
from synthzoo.instruments.brain.fitting import CONTRASTS, make_rules
from synthzoo.instruments.brain.identity import NAME, IdentityNet
from synthzoo.instruments.brain.identity_training import SubjectPairs, identity_loss, make_report
from synthzoo.instruments.brain.phantoms import InstrumentPhantoms
from synthzoo.instruments.identities import identity_table
from synthzoo.instruments.volume_network import ShareLoss
from synthzoo.training import ObjectiveTrainer, cosine_schedule
from synthzoo.training.instruments import train_instrument

WEIGHTS = str(brain_segmentation.WEIGHTS)
torch.set_num_threads(1)  # the same sums in the same order on every machine


def segmentation(
    iterations: int = 500, decay: int = 700, subjects: int = 200, batch_size: int = 4, folder: str = WEIGHTS
) -> None:
    """Train the tissue network whose deepest layer gives the features of our FID.

    Args:
        iterations: steps of the optimiser.
        decay: steps after which the cosine schedule would end.
        subjects: phantoms that are painted again for each batch.
        batch_size: images a step.
        folder: where `brain_segmentation.pt` goes.
    """
    torch.manual_seed(0)
    network = brain_segmentation.TissueNet()
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=1e-4)
    contrasts = {"T1w": 0.35, "T2w": 0.15, "FLAIR": 0.15, "PD": 0.15, "random": 0.2}
    scheduler = cosine_schedule(optimizer, decay, warmup=30, floor=0.01)
    ObjectiveTrainer(
        "cpu",
        1,
        SeededLoader(InstrumentPhantoms(subjects, contrasts), batch_size),
        network,
        [{"objective": ShareLoss(brain_segmentation.normalise), "optimizer": optimizer, "scheduler": scheduler}],
        epoch_length=iterations,
        ema_decay=0.98,
        checkpoint_every=100,
        save_to=Path(folder) / "brain_segmentation.pt",
        save_half=True,
    ).run()
    brain_segmentation.load_instrument.cache_clear()


def rules(
    subjects: int = 1800,
    other_subjects: int = 320,
    held_out: tuple[int, int] = (300, 200),
    other_held_out: tuple[int, int] = (80, 40),
    landmarks: tuple[int, int] = (512, 256),
    contrasts: tuple[str, ...] = CONTRASTS,
    cache: str | None = None,
    folder: str = WEIGHTS,
) -> None:
    """Fit volumes and age for each contrast and write their errors.

    Args:
        subjects, other_subjects: training subjects of T1w, and of each other contrast.
        held_out, other_held_out: validation and test subjects.
        landmarks: of a rule for T1w, and for each other contrast.
        contrasts: T1w first.
        cache: folder for tables of features, so that a fit can be repeated.
        folder: where the rules and `brain_instruments.json` go.
    """
    groups = [(contrasts[:1], (subjects, *held_out), landmarks[0])]
    if contrasts[1:]:
        groups.append((contrasts[1:], (other_subjects, *other_held_out), landmarks[1]))
    report = make_rules(groups, Path(folder), cache)
    print(json.dumps({name: report[name]["T1w"] for name in ("brain_volumes", "brain_age")}, indent=2))


def identity(iterations: int = 200, batch_size: int = 16, cache: str | None = None, folder: str = WEIGHTS) -> None:
    """Train the network that tells brains apart and state its errors.

    Args:
        iterations, batch_size: of the training; an image of the batch is a pair of scans.
        cache: folder for checkpoints.
        folder: where `brain_identity.pt` and its report go.
    """
    sizes = (iterations, batch_size, 2e-3)
    train_instrument(NAME, IdentityNet, identity_loss(), SubjectPairs(), *sizes, cache, folder, ema_decay=0.97)
    found = make_report(Path(folder))
    fill_page("docs/privacy.md", "brains", "\n".join(identity_table(found["any contrasts"], "whose brain")))
    print(json.dumps({name: found[name] for name in ("any contrasts", "T1w")}, indent=2))


def everything(cache: str | None = None, folder: str = WEIGHTS) -> None:
    """Fit the rules, state their errors, train both networks."""
    rules(cache=cache, folder=folder)
    segmentation(folder=folder)
    identity(cache=cache, folder=folder)


if __name__ == "__main__":
    run({"segmentation": segmentation, "rules": rules, "identity": identity, "all": everything})
