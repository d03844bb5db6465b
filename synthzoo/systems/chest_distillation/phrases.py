"""Scores of grounding on real radiographs with phrases and boxes: MS-CXR, ChestX-ray14, VinDr-CXR."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from synthzoo.datasets.chest.grounding import FORMATS, GroundingRadiographs, grounding_rows
from synthzoo.errors import UserError
from synthzoo.inferers.word_attention import enlarged, masks_of
from synthzoo.networks.text_to_image import TextToImage
from synthzoo.systems.chest_distillation.inferer import GroundingInferer
from synthzoo.systems.chest_distillation.scores import SCORES, hits, mean_scores, score

COLUMNS = ("finding", "phrases", "chance (box area)", *SCORES, "control: another radiograph's map")


def phrase_rows(
    tokenizer: Any,
    dataset_dir: str | Path = "",
    data_format: str = "phantom",
    size: int = 128,
    fit: str = "pad",
    named_only: bool = False,
) -> GroundingRadiographs | None:
    """Radiographs with phrases and boxes from a folder, None where there is none; unknown phrases are counted aloud.

    Args:
        tokenizer: a phrase none of whose words it knows is left out.
        dataset_dir: folder of the data set; empty for none.
        data_format: "phantom" for none, or "mscxr", "chestxray14", "vindr".
        size, fit, named_only: see `grounding_rows`.

    Raises:
        UserError: a folder without its format, a format without its folder, no phrase that is known.
    """
    if data_format == "phantom":
        if dataset_dir:
            raise UserError(
                f"dataset_dir is {dataset_dir}, but data_format is phantom: add --data_format {', '.join(FORMATS)} to "
                "read it."
            )
        return None
    rows = grounding_rows(dataset_dir, data_format, named_only=named_only, size=size, fit=fit)
    known = [row for row in rows if tokenizer.groups(row["phrase"], row["words"])]
    if not known:
        raise UserError(f"{dataset_dir}: the model knows no word of its phrases; they need a model of their language.")
    print(
        f"{dataset_dir}: {len(rows) - len(known)} phrases left out, of which the model knows no word.", file=sys.stderr
    )
    return GroundingRadiographs(known, size, fit)


@torch.inference_mode()
def phrase_scores(
    network: TextToImage, inferer: GroundingInferer, rows: GroundingRadiographs, device: Any = "cpu", batch: int = 8
) -> list[dict[str, Any]]:
    """For each row its finding, share of the image that is truth, all of `SCORES`, and "control".

    The control is the pointing game by the map of the next row of the same finding on another radiograph, NaN where
    there is none. "distance" counts for rows of one box alone. Words that the tokenizer does not know are left out.

    Args:
        network: trained, on `device`.
        inferer: its layers and timesteps.
        rows: on the network's grid.
        device: of the network.
        batch: radiographs at once.
    """
    heats, found, truths = [], [], []
    for first in range(0, len(rows), batch):
        part = [rows[n] for n in range(first, min(first + batch, len(rows)))]
        latents = network.encode(torch.stack([one["image"] for one in part]).to(device))
        maps = inferer.attention(latents, [one["phrase"] for one in part], network, [one["words"] for one in part])
        size = tuple(part[0]["image"].shape[-2:])
        for one, heat, mask in zip(part, enlarged(maps, size)[:, 0].numpy(), masks_of(maps, size)[:, 0].numpy()):
            truth = one["box_mask"][0].numpy().astype(bool)
            scored = score(heat, mask > 0.5, truth)
            scored["distance"] = scored["distance"] if len(one["boxes"]) == 1 else float("nan")
            found.append({"finding": one["finding"], "area": float(truth.mean()), **scored})
            heats.append(heat)
            truths.append(truth)
    cases = [row["case"] for row in rows.rows]
    for number, one in enumerate(found):
        later = [(number + step) % len(found) for step in range(1, len(found))]
        same = (n for n in later if found[n]["finding"] == one["finding"] and cases[n] != cases[number])
        other = next(same, None)
        one["control"] = float("nan") if other is None else float(hits(heats[other], truths[number]))
    return found


def phrase_table(found: list[dict[str, Any]]) -> list[list[Any]]:
    """Rows of `COLUMNS`: the means of each finding's rows, and of all rows."""
    groups = {finding: [finding] for finding in sorted({one["finding"] for one in found})}
    table = []
    for name, members in {**groups, "all": list(groups)}.items():
        own = [one for one in found if one["finding"] in members]
        means = mean_scores([{key: one[key] for key in (*SCORES, "control", "area")} for one in own])
        values = [round(means[key], 3) for key in (*SCORES, "control")]
        table.append([name, len(own), round(means["area"], 4), *values])
    return table
