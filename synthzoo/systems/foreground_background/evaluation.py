"""Evaluation of masks of concepts on images whose masks are exact (Dombrowski et al., ICCV 2023).

Weak, refined and trained masks stand beside saliency, a centred blob, and a segmenter of the same kind that was trained
on true masks. Whatever has a threshold gets it on validation images; test images are scored once. Scores are pooled
over every pixel of the images that name the concept, as published.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage as ndi

from synthzoo.errors import UserError
from synthzoo.evaluation.base import Evaluation, Found
from synthzoo.inferers.word_attention import TIMESTEPS
from synthzoo.metrics.fidelity import psnr
from synthzoo.networks.cross_attention import ALL, attention_layers
from synthzoo.networks.weights import load_weights
from synthzoo.systems.foreground_background.baselines import BASELINES
from synthzoo.systems.foreground_background.dataset import made_masks, named_concepts
from synthzoo.systems.foreground_background.figure import draw
from synthzoo.systems.foreground_background.inferer import ConceptInferer
from synthzoo.systems.foreground_background.scores import best_threshold, pooled
from synthzoo.systems.foreground_background.sources import concept_rows
from synthzoo.systems.foreground_background.windows import scaled, windows_of

BATCH = 16
SUPERVISED = "supervised"  # name among the other segmenters of the one that was trained on true masks
COLUMNS = ("masks", "threshold", "accuracy", "IoU", "mIoU")
MARGIN = 4  # pixels around a mask that do not count as outside: the decoder sees across its edge
LATE = (1, 41, 81, 121, 161, 201, 241)


class ConceptEvaluation(Evaluation):
    """Figures of a `ConceptNetwork`, and a picture.

    Args:
        inferer: that of the bundle; its layers, timesteps and removal count.
        rows: settings of `concept_rows` but split and count.
        validation, test: images of either split.
        profile: validation images on which layers and timesteps are compared.
        segmenters: name -> weights of the same network with another segmenter; "supervised" is the one that was trained
            on true masks, and judges removals, too.
        shown: what the images are, for the titles of tables.
        figure: PNG; None draws nothing.
        shared: see `Evaluation`.
    """

    PARTS = ("autoencoder", "profile", "masks", "absent", "removal", "speed")

    def __init__(
        self,
        inferer: ConceptInferer,
        rows: Mapping[str, Any] | None = None,
        validation: int = 200,
        test: int = 400,
        profile: int = 100,
        segmenters: Mapping[str, str] | None = None,
        shown: str = "scenes",
        figure: str | Path | None = None,
        **shared: Any,
    ) -> None:
        self.others = dict(segmenters or {})
        settings = {"rows": dict(rows or {}), "counts": [validation, test, profile], "segmenters": sorted(self.others)}
        super().__init__(inferer=inferer, settings=settings, **shared)
        self.source, self.counts = dict(rows or {}), {"validation": int(validation), "test": int(test)}
        self.profiled, self.shown, self.figure = int(profile), shown, figure
        self.concepts: list[str] = self.network.concepts

    # --- what the parts share ----------------------------------------------------------------------------------------

    @cached_property
    def splits(self) -> dict[str, list[dict[str, Any]]]:
        """Split -> its rows with "image", "mask" bool (K, S, S) and "named", numbers of the concepts that it names."""
        found = {}
        for split, count in self.counts.items():
            rows = concept_rows(split=split, count=count, **self.source)
            chosen = range(min(count, len(rows)))
            found[split] = [
                {
                    **rows[n],
                    "mask": rows.mask(n).numpy() > 0.5,
                    "named": named_concepts(rows.truth(n)["caption"], self.concepts),
                }
                for n in chosen
            ]
        if not any(row["named"] for row in found["test"]):
            raise UserError(f"no test image names one of {', '.join(self.concepts)}: give captions that do.")
        return found

    def images(self, split: str) -> torch.Tensor:
        """Images (N, bands, S, S) of a split."""
        return torch.stack([row["image"] for row in self.splits[split]])

    def pairs(self, split: str) -> list[tuple[int, int]]:
        """Row and concept of every concept that an image names and shows."""
        rows = self.splits[split]
        return [(n, k) for n, row in enumerate(rows) for k in row["named"] if row["mask"][k].any()]

    def truths(self, split: str) -> np.ndarray:
        """True masks bool (P, S, S) of `pairs`."""
        return np.stack([self.splits[split][n]["mask"][k] for n, k in self.pairs(split)])

    def maps(self, split: str, inferer: ConceptInferer | None = None, most: int | None = None) -> np.ndarray:
        """Attention maps (P, S, S) in [0, 1] of `pairs`."""
        inferer, pairs = inferer or self.inferer, self.pairs(split)[:most]
        images, found = self.images(split), np.zeros((len(pairs), *self.images(split).shape[-2:]), np.float32)
        for k, concept in enumerate(self.concepts):
            own = [place for place, (_, channel) in enumerate(pairs) if channel == k]
            for first in range(0, len(own), BATCH):
                part = own[first : first + BATCH]
                with torch.inference_mode():
                    latents = self.network.encode(images[[pairs[place][0] for place in part]].to(self.device))
                    heat = inferer.heat(latents, self.network, concept, tuple(images.shape[-2:]))
                found[part] = scaled(heat, windows_of(None, len(part), images.shape[-1]))[:, 0].numpy()
        return found

    def made(self, split: str, kind: str) -> np.ndarray:
        """Weak or refined masks bool (P, S, S) of `pairs`; kept as they are made."""
        rows = _Listed(self.splits[split])
        made = made_masks(self.network, rows, self.inferer, kind, self.folder / f"{split}-masks")
        return np.stack([made[n, k] for n, k in self.pairs(split)]).astype(bool)

    @torch.inference_mode()
    def segmented(self, split: str, segmenter: torch.nn.Module) -> np.ndarray:
        """Probabilities (N, K, S, S) of a segmenter."""
        parts = self.images(split).split(BATCH)
        return torch.cat([segmenter(2 * part.to(self.device) - 1).sigmoid().float().cpu() for part in parts]).numpy()

    @cached_property
    def segmenters(self) -> dict[str, torch.nn.Module]:
        """Name -> segmenter: the network's own as "trained", and the others."""
        found = {"trained": self.network.segmenter}
        for name, path in self.others.items():
            found[name] = _other(self.network, path).to(self.device)
        return found

    def chosen(self, heats: Mapping[str, np.ndarray]) -> tuple[float, np.ndarray]:
        """The threshold that is best on validation maps, and the test masks that it gives."""
        threshold, _ = best_threshold(heats["validation"], self.truths("validation"))
        return threshold, heats["test"] >= threshold

    # --- parts -------------------------------------------------------------------------------------------------------

    def autoencoder(self) -> Found:
        """What the latents keep of test images."""
        found, images, restored = Found(), self.images("test"), self.restored("test")
        kept, error = float(np.mean([psnr(*pair) for pair in zip(restored, images)])), restored - images
        found.figures = {"autoencoder_psnr": round(kept, 2), "autoencoder_l1": round(float(error.abs().mean()), 4)}
        rows = [["PSNR in dB", round(kept, 2)], ["mean absolute error", found.figures["autoencoder_l1"]]]
        found.add(f"What the autoencoder keeps of test {self.shown}", ["measure", "value"], rows)
        return found

    @torch.inference_mode()
    def restored(self, split: str) -> torch.Tensor:
        """Images of a split through the autoencoder, (N, bands, S, S)."""
        parts = self.images(split).to(self.device).split(BATCH)
        return torch.cat([self.network.decode(self.network.encode(part)).float().clamp(0, 1).cpu() for part in parts])

    def profile(self) -> Found:
        """Layers and timesteps on validation images, from which the bundle's were chosen."""
        found, truth = Found(), self.truths("validation")[: self.profiled]
        few = TIMESTEPS[::8]
        tried: dict[str, tuple[Any, Any]] = {
            "the bundle's": (self.inferer.layers, self.inferer.timesteps),
            "all layers, published timesteps": (ALL, TIMESTEPS),
            f"all layers, t = {LATE[0]} to {LATE[-1]}": (ALL, LATE),
        }
        tried |= {
            f"{layer}, t = {few[0]} to {few[-1]}": (layer, few) for layer in attention_layers(self.network.denoiser)
        }
        tried |= {f"the bundle's layers, t = {t}": (self.inferer.layers, (t,)) for t in (1, 101, 201, 401, 601)}
        rows = []
        for name, (layers, timesteps) in tried.items():
            inferer = ConceptInferer(self.inferer.concept, "weak", layers, timesteps, self.inferer.seed)
            heat = self.maps("validation", inferer, self.profiled)
            rows.append([name, *(round(value, 3) for value in best_threshold(heat, truth))])
        columns = ["layers and timesteps", "best threshold", "IoU at it"]
        found.add(f"Choice of layers and timesteps on {len(truth)} concepts of validation {self.shown}", columns, rows)
        return found

    def all_masks(self) -> dict[str, tuple[float | None, np.ndarray]]:
        """Name -> the threshold that was chosen on validation images, and test masks bool (P, S, S)."""
        both, found = ("validation", "test"), {}
        for name, make in BASELINES.items():
            heats = {s: make(self.images(s))[:, 0].numpy()[[n for n, _ in self.pairs(s)]] for s in both}
            found[name] = self.chosen(heats)
        found["weak, mixture as published"] = (None, self.made("test", "weak"))
        found["weak, threshold of validation"] = self.chosen({s: self.maps(s) for s in both})
        found["refined"] = (None, self.made("test", "refined"))
        for name, segmenter in self.segmenters.items():
            heats = {}
            for split in both:
                predicted = self.segmented(split, segmenter)
                heats[split] = np.stack([predicted[n, k] for n, k in self.pairs(split)])
            found[f"segmenter: {name}"] = self.chosen(heats)
        return found

    def masks_scored(self) -> dict[str, list[Any]]:
        """Name -> threshold and pooled scores over all concepts and over each."""
        truth, pairs = self.truths("test"), self.pairs("test")
        scored = {}
        for name, (threshold, masks) in self.all_masks().items():
            whole = pooled(masks, truth)
            own = [[p for p, (_, k) in enumerate(pairs) if k == channel] for channel in range(len(self.concepts))]
            each = [round(pooled(masks[p], truth[p]).iou, 3) if p else None for p in own]
            scored[name] = [threshold, *(round(v, 3) for v in (whole.accuracy, whole.iou, whole.miou)), *each]
        return scored

    def masks(self) -> Found:
        """Masks of test images against the truth."""
        found, scored = Found(), self.masks_scored()
        rows = [[name, "-" if row[0] is None else row[0], *row[1:]] for name, row in scored.items()]
        columns = [*COLUMNS, *(f"IoU, {concept}" for concept in self.concepts)]
        found.add(f"Masks of {len(self.pairs('test'))} concepts in test {self.shown}", columns, rows)
        keys = {"weak, mixture as published": "weak", "refined": "refined", "segmenter: trained": "trained"}
        keys |= {f"segmenter: {name}": name for name in self.others} | {"centred blob": "blob"}
        found.figures = {f"iou_{key}": scored[name][2] for name, key in keys.items()}
        found.figures |= {f"miou_{key}": scored[name][3] for name, key in keys.items()}
        salient = [row for name, row in scored.items() if name.startswith("saliency")]
        found.figures["iou_saliency"] = max(row[2] for row in salient)
        found.figures["miou_saliency"] = max(row[3] for row in salient)
        found.figures["share_of_concept"] = round(float(self.truths("test").mean()), 4)
        return found

    def absent(self) -> Found:
        """Share of a test image that is masked for a concept which it does not show."""
        found, rows, shares = Found(), [], []
        predicted = self.segmented("test", self.network.segmenter) >= self.inferer.threshold
        for k, concept in enumerate(self.concepts):
            none = [n for n, row in enumerate(self.splits["test"]) if not row["mask"][k].any()]
            if none:
                shares.append(float(predicted[none, k].mean()))
                any_pixel = float(predicted[none, k].any((1, 2)).mean())
                rows.append([concept, len(none), round(shares[-1], 4), round(any_pixel, 3)])
        found.figures["absent_share"] = round(float(np.mean(shares)), 4) if shares else 0.0
        columns = ["concept", "images without it", "share of pixels masked", "share of images with a pixel masked"]
        found.add(f"What the trained segmenter masks in {self.shown} without the concept", columns, rows)
        return found

    def removal(self) -> Found:
        """What a removal changes: outside of the mask nothing beyond the autoencoder's error, inside the object."""
        found, pairs = Found(), self.pairs("test")
        images, restored = self.images("test"), self.restored("test")
        judge = self.segmenters.get(SUPERVISED, self.network.segmenter)
        moved, kept, before, after = [], [], [], []
        for (n, k), weak in zip(pairs, self.made("test", "weak")):
            if not weak.any():
                continue
            background = self.removed(images[n][None], torch.from_numpy(weak)[None, None].float())
            outside = torch.from_numpy(~ndi.binary_dilation(weak, iterations=MARGIN))
            if outside.any():
                moved.append(float((background - images[n]).abs().mean(0)[outside].mean()))
                kept.append(float((restored[n] - images[n]).abs().mean(0)[outside].mean()))
            true = torch.from_numpy(self.splits["test"][n]["mask"][k])
            with torch.inference_mode():
                both = torch.stack([restored[n], background]).to(self.device)
                probability = judge(2 * both - 1).sigmoid()[:, k].float().cpu()
            before.append(float(probability[0][true].mean()))
            after.append(float(probability[1][true].mean()))
        values = {name: round(float(np.mean(v)), 4) for name, v in (("moved", moved), ("kept", kept))}
        values |= {name: round(float(np.mean(v)), 4) for name, v in (("before", before), ("after", after))}
        found.figures = {"outside_error_removed": values["moved"], "outside_error_autoencoder": values["kept"]}
        found.figures |= {"object_probability_before": values["before"], "object_probability_after": values["after"]}
        who = SUPERVISED if SUPERVISED in self.segmenters else "trained"
        rows = [
            [f"mean absolute error {MARGIN} pixels outside of the mask, after the removal", values["moved"]],
            ["the same, of the autoencoder alone", values["kept"]],
            [f"probability of the {who} segmenter on the object, through the autoencoder", values["before"]],
            ["the same, after the removal", values["after"]],
        ]
        found.add(f"Removal of {len(before)} concepts from test {self.shown}", ["measure", "value"], rows)
        return found

    def removed(self, images: torch.Tensor, weak: torch.Tensor) -> torch.Tensor:
        """One image without what its weak mask holds, (bands, S, S)."""
        with torch.inference_mode():
            given = images.to(self.device)
            windows = windows_of(None, 1, images.shape[-1])
            return self.inferer.remove(given, self.network.encode(given), weak, self.network, windows)["background"][0]

    @torch.inference_mode()
    def speed(self) -> Found:
        """Seconds for one image at each stage, one thread of a CPU or a GPU."""
        found, image = Found(), self.images("test")[:1].to(self.device)
        concept, rows = self.concepts[self.pairs("test")[0][1]], []
        stage = self.inferer.stage
        for kind in ("weak", "refined", "trained"):
            self.inferer.stage, start = kind, self.clock()
            self.inferer.segment(image, self.network, None, concept)
            rows.append([kind, round(self.clock() - start, 3)])
            found.figures[f"seconds_{kind}"] = rows[-1][1]
        self.inferer.stage = stage
        found.figures[f"seconds_per_sample_{self.kind_of_device}"] = found.figures["seconds_refined"]
        found.add(f"Seconds for one of the {self.shown}", ["stage", "seconds"], rows)
        return found

    def draw(self, found: Mapping[str, Found]) -> None:
        """Test images with their weak, refined, trained and true masks, and without the object."""
        if self.figure and {"masks", "removal"} <= set(found):
            draw(self, self.figure)


class _Listed:
    """Rows in a list behind the calls of a data set."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def truth(self, row: int) -> dict[str, Any]:
        return {"caption": self.rows[row]["caption"]}

    def __getitem__(self, row: int) -> Mapping[str, Any]:
        return self.rows[row]


def _other(network: Any, path: str | Path) -> torch.nn.Module:
    """The segmenter in the weights of the same network, trained otherwise."""
    return load_weights(deepcopy(network), path).segmenter
