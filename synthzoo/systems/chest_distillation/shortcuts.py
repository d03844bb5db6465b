"""What could find the findings of a phrase alone: maps for which no network reads a phrase, a radiograph, or either.

noun, phrase     the network's maps, which the others stand beside
shuffled         the network's map of another finding's phrase in the same radiograph
nouns            the mean of the network's maps of all findings' nouns in it: the phrase is not read
elsewhere        the mean of the network's maps of the noun in all other radiographs: the radiograph is not read
place            the mean of the finding's training boxes: neither network nor radiograph
anywhere         the mean of all training boxes: nothing is read at all
centre           how near to the middle of the picture
bright, mirrored equalised intensity; difference from the other side: no network and no phrase
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from synthzoo.evaluation.base import Found
from synthzoo.metrics.localisation import asymmetry, equalised_intensity
from synthzoo.systems.chest_distillation.scores import box_mask, mean_scores, placed

TITLES = {
    "noun": "the finding's noun (shipped)",
    "phrase": "the whole phrase",
    "shuffled": "another finding's phrase, same radiograph",
    "nouns": "mean of all nouns' maps, phrase not read",
    "elsewhere": "mean map of the noun in other radiographs, radiograph not read",
    "place": "mean training box of the finding, no network",
    "anywhere": "mean training box of all findings, nothing read",
    "centre": "middle of the picture, nothing read",
    "bright": "equalised intensity, no network",
    "mirrored": "difference from the other side, no network",
}
OWN = ("noun", "phrase")


class Boxes:
    """Mean boxes of training findings.

    Args:
        findings: with "kind" and "box", see `prompts.findings_of`.
        size: side of the picture in pixels.
    """

    def __init__(self, findings: Sequence[Mapping], size: int) -> None:
        self.sums: dict[str, np.ndarray] = {}
        self.counts: dict[str, int] = {}
        for one in findings:
            kind, box = one["kind"], box_mask([one["box"]], size)
            self.sums[kind] = self.sums.get(kind, np.zeros((size, size))) + box
            self.counts[kind] = self.counts.get(kind, 0) + 1

    def of(self, kind: str) -> np.ndarray:
        """Mean of the boxes of a kind, (S, S)."""
        return self.sums[kind] / self.counts[kind]

    def of_all(self) -> np.ndarray:
        """Mean of the boxes of all kinds, (S, S)."""
        return np.sum(list(self.sums.values()), 0) / sum(self.counts.values())


def centre_map(size: int) -> np.ndarray:
    """A map (S, S) that falls from 1 with the distance from the middle."""
    along = np.linspace(-1, 1, size)
    return np.exp(-2 * (along[:, None] ** 2 + along[None] ** 2))


def elsewhere(heats: np.ndarray, kinds: Sequence[str], rows: Sequence[int]) -> np.ndarray:
    """For each map (N, S, S) the mean of those of its kind in other radiographs, or 0 where there is none.

    Args:
        heats: maps of the findings.
        kinds: theirs (N,).
        rows: numbers of their radiographs (N,).
    """
    kinds, rows, found = np.asarray(kinds), np.asarray(rows), np.zeros_like(heats)
    for number in range(len(heats)):
        others = (kinds == kinds[number]) & (rows != rows[number])
        if others.any():
            found[number] = heats[others].mean(0)
    return found


def without_network(images: np.ndarray, kinds: Sequence[str], boxes: Boxes) -> dict[str, np.ndarray]:
    """The maps (N, S, S) that no network makes, by the keys of `TITLES`.

    Args:
        images: radiographs of the findings (N, S, S) in [0, 1].
        kinds: of the findings (N,).
        boxes: of training findings.
    """
    seen = images > 0
    return {
        "place": np.stack([boxes.of(kind) for kind in kinds]),
        "anywhere": np.broadcast_to(boxes.of_all(), images.shape),
        "centre": np.broadcast_to(centre_map(images.shape[-1]), images.shape),
        "bright": np.stack([equalised_intensity(image, mask) for image, mask in zip(images, seen)]),
        "mirrored": np.stack([asymmetry(image, mask, axis=1) for image, mask in zip(images, seen)]),
    }


def tabled(
    maps: Mapping[str, np.ndarray], truths: Sequence[np.ndarray], groups: Mapping[str, Sequence[int]], free: str
) -> Found:
    """Tables of pointing and AUC, a row a map and a column a group of findings; figures of the group `free`.

    Args:
        maps: key of `TITLES` -> maps of the findings (N, S, S).
        truths: their boxes, bool (S, S) each.
        groups: name -> numbers of its findings.
        free: the group whose places vary.
    """
    found, best = Found(), {"pointing": 0.0, "auc": 0.0}
    scored = {key: [placed(heat, truth) for heat, truth in zip(heats, truths)] for key, heats in maps.items()}
    for name, title in (("pointing", "pointing game"), ("auc", "AUC")):
        rows = []
        for key, scores in scored.items():
            means = {group: mean_scores([scores[n] for n in own])[name] for group, own in groups.items()}
            rows.append([TITLES[key], *(round(value, 3) for value in means.values())])
            found.figures[f"shortcut_{key}_{name}_free"] = round(means[free], 4)
            if key not in OWN:
                best[name] = max(best[name], means[free])
        columns = ["map", *(f"{group} ({len(own)})" for group, own in groups.items())]
        found.add(f"What could do the work alone, unseen patients: {title}", columns, rows)
    found.figures |= {f"shortcut_highest_{name}_free": round(value, 4) for name, value in best.items()}
    return found
