"""Radiographs as this system reads them: labels as conditions, the first so many patients, and pairs of studies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from synthzoo.datasets.chest.sources import training_radiographs
from synthzoo.datasets.latents import LatentRadiographs
from synthzoo.errors import UserError
from synthzoo.phantoms.chest.findings import KINDS
from synthzoo.systems.hidden_subspaces.pairs import PatientPairs
from synthzoo.systems.privacy_distillation.network import LabelDiffusion, reid_grid

LABELS = (*KINDS, "sex")  # in the order of the conditions; sex is 0 for F and 1 for M
SEXES = ("F", "M")
# Our findings in the words of a data set; what it does not name stays unset.
NAMES: dict[str, dict[str, str]] = {
    "phantom": {kind: kind for kind in KINDS},
    "mimic": {
        "nodule": "Lung Lesion",
        "consolidation": "Consolidation",
        "effusion": "Pleural Effusion",
        "pneumothorax": "Pneumothorax",
        "cardiomegaly": "Cardiomegaly",
    },
    "chestxray14": {
        "nodule": "Nodule",
        "consolidation": "Consolidation",
        "effusion": "Effusion",
        "pneumothorax": "Pneumothorax",
        "cardiomegaly": "Cardiomegaly",
    },
    "vindr": {
        "nodule": "Nodule/Mass",
        "consolidation": "Consolidation",
        "effusion": "Pleural effusion",
        "pneumothorax": "Pneumothorax",
        "cardiomegaly": "Cardiomegaly",
    },
}


class LabelledRadiographs(Dataset):
    """Rows {"image": float32 (1, S, S) in [0, 1], "conditions": float32 (8,), "patient", "study", "row"}.

    Conditions are the seven findings of `KINDS`, 0 or 1, and sex, 0 for F and 1 for M; NaN where nothing is known.

    Args:
        data_format, dataset_dir, split, size, fit, intensity, phantom, reader: see
            `synthzoo.datasets.chest.sources.training_radiographs`.
        patients: the first so many patients of the split; None takes all.

    Raises:
        UserError: a data set whose labels are not known here, patients below 1, and what the readers say.
    """

    def __init__(
        self,
        data_format: str = "phantom",
        dataset_dir: str = "",
        split: str = "train",
        size: int = 128,
        patients: int | None = None,
        phantom: Mapping[str, Any] | None = None,
        **reader: Any,
    ) -> None:
        if patients is not None and (isinstance(patients, bool) or not isinstance(patients, int) or patients < 1):
            raise UserError(f"private_patients is {patients!r}, but must be an integer of at least 1, or null for all.")
        self.rows = training_radiographs(data_format, dataset_dir, split, size, phantom=phantom, **reader)
        if data_format not in NAMES:
            raise UserError(f"data_format = {data_format!r}: labels are known of {', '.join(NAMES)}.")
        names = NAMES[data_format]
        known = list(KINDS) if data_format == "phantom" else self.rows.findings
        self.places = [known.index(names[kind]) if names.get(kind) in known else None for kind in KINDS]
        owners = [str(self.facts(row)["patient"]) for row in range(len(self.rows))]
        first = list(dict.fromkeys(owners))[:patients]
        self.numbers = [row for row, owner in enumerate(owners) if owner in set(first)]
        self.patients = [owners[row] for row in self.numbers]

    def facts(self, row: int) -> dict:
        """What the data set knows of one of its rows besides the image."""
        return self.rows.record(row) if hasattr(self.rows, "record") else self.rows.rows[row]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, row: int) -> dict[str, Any]:
        if not 0 <= row < len(self):
            raise IndexError(row)
        item, facts = self.rows[self.numbers[row]], self.facts(self.numbers[row])
        values = [float("nan") if place is None else float(item["labels"][place]) for place in self.places]
        sex = facts.get("sex")
        values.append(float(SEXES.index(sex)) if sex in SEXES else float("nan"))
        who = {"patient": self.patients[row], "study": str(item["study"]), "row": row}
        return {"image": item["image"], "conditions": torch.tensor(values), **who}


def private_latents(network: LabelDiffusion, batch_size: int = 16, **radiographs: Any) -> LatentRadiographs:
    """Rows of `LabelledRadiographs` with "latents" (C, h, w) in place of the image, encoded once.

    Args:
        network: its autoencoder trained on others.
        batch_size: radiographs encoded at once.
        radiographs: of `LabelledRadiographs`.
    """
    return LatentRadiographs(network, LabelledRadiographs(**radiographs), batch_size)


class Studies(Dataset):
    """Radiographs of public patients, several of a study, as `PatientPairs` takes them.

    Beside each radiograph lies what the autoencoder makes of it, since synthetic images are seen through it, too.

    Args:
        network: with an autoencoder and a `reid_size`.
        radiographs: rows with "image", "patient" and "study", such as `LabelledRadiographs`.
        restored: share of the radiographs that are kept restored, too.
        batch_size: radiographs restored at once.

    Attributes:
        patients: of each study.
        images: uint8 (N, reid_size, reid_size); `numbers` has those of each study.
    """

    def __init__(
        self, network: LabelDiffusion, radiographs: Dataset, restored: float = 0.5, batch_size: int = 16
    ) -> None:
        device, size = next(network.parameters()).device, network.reid_size
        owners: dict[tuple[str, str], list[int]] = {}
        images: list[torch.Tensor] = []
        waiting: list[tuple[tuple[str, str], torch.Tensor]] = []
        rng = np.random.default_rng(len(radiographs))

        def keep(study: tuple[str, str], image: torch.Tensor) -> None:
            owners.setdefault(study, []).append(len(images))
            images.append((255 * reid_grid(image[None], size)[0, 0].clamp(0, 1)).round().byte())

        network.eval()
        with torch.no_grad():
            for row in tqdm(range(len(radiographs)), desc="read", mininterval=5.0):
                item = radiographs[row]
                study = (str(item["patient"]), str(item["study"]))
                keep(study, item["image"])
                if rng.random() < restored:
                    waiting.append((study, item["image"]))
                if waiting and (len(waiting) == batch_size or row == len(radiographs) - 1):
                    given = torch.stack([image for _, image in waiting]).to(device)
                    for (owner, _), image in zip(waiting, network.autoencoder(given).float().cpu()):
                        keep(owner, image)
                    waiting = []
        self.images, self.numbers = torch.stack(images), list(owners.values())
        self.patients = [patient for patient, _ in owners]

    def __len__(self) -> int:
        return len(self.numbers)

    def frames(self, row: int, which: Callable[[int], np.ndarray] | None = None) -> torch.Tensor:
        """Radiographs of a study, float32 (n, 1, S, S) in [0, 1]; None takes all."""
        own = np.asarray(self.numbers[row])
        own = own if which is None else own[np.asarray(which(len(own)))]
        return self.images[torch.from_numpy(own)][:, None].float() / 255


def public_pairs(
    network: LabelDiffusion, mode: str = "cross_session", restored: float = 0.5, **radiographs: Any
) -> PatientPairs:
    """Pairs of studies of one patient each, for `objective.PairLoss`.

    Args:
        network: see `Studies`.
        mode: see `PatientPairs`; "both" where many patients have one study only, which trains the search for copies.
        restored: see `Studies`.
        radiographs: of `LabelledRadiographs`.
    """
    return PatientPairs(Studies(network, LabelledRadiographs(**radiographs), restored), mode, positives=1.0)
