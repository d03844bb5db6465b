"""Evaluation of phrase grounding and of generation on chest phantoms, whose boxes are exact (arXiv 2303.17908).

Every score of grounding stands beside three controls: the map of a finding that the radiograph does not show, the map
of the same finding in another patient's radiograph, and the mean of the finding's training boxes, which looks at no
radiograph at all; `shortcuts` says what else could do the work alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from synthzoo.datasets.chest.grounding import GroundingRadiographs
from synthzoo.datasets.chest.phantoms import ChestPhantomDataset
from synthzoo.evaluation.base import Evaluation, Found
from synthzoo.evaluation.pictures import new_figure, save_figure
from synthzoo.inferers.text_to_image import TextToImageInferer
from synthzoo.inferers.word_attention import TIMESTEPS, enlarged, masks_of
from synthzoo.instruments.chest.heart import measure_ctr
from synthzoo.instruments.chest.identity import similarities
from synthzoo.metrics.fidelity import psnr
from synthzoo.networks.cross_attention import ALL, attention_layers
from synthzoo.systems.chest_distillation.inferer import GroundingInferer
from synthzoo.systems.chest_distillation.phrases import COLUMNS, phrase_scores, phrase_table
from synthzoo.systems.chest_distillation.prompts import findings_of
from synthzoo.systems.chest_distillation.scores import SCORES, box_mask, hits, mean_scores, score
from synthzoo.systems.chest_distillation.shortcuts import Boxes, elsewhere, tabled, without_network
from synthzoo.systems.chest_distillation.variants import read_variant
from synthzoo.systems.chest_distillation.words import SOUGHT

NOUNS = {"effusion": "pleural effusion", "central line": "venous catheter"}  # others are called by their kind
LESIONS = ("nodule", "consolidation", "effusion", "pneumothorax")
FREE = ("nodule", "consolidation")  # whose places vary: those that the criteria speak of
FREE_GROUP = "nodule and consolidation"
CONTROLS = ("absent finding", "another patient's map", "position prior")
SIDED = ("effusion", "consolidation")
BATCH = 32


class ChestDistillationEvaluation(Evaluation):
    """Figures of a `TextToImage`, and a picture.

    Args:
        inferer: the grounding inferer of the bundle.
        sampler: its inferer of text to image.
        patients, cache_dir: of the pool, as in training; what is measured are its TEST patients.
        profile: VAL findings on which layers and timesteps are compared.
        samples: generated radiographs of each prompt.
        variants: name -> weights of other trainings, such as with a text encoder that learns, to be compared.
        phrases: radiographs with phrases and boxes of a data set, see `phrases.phrase_rows`; None leaves them out.
        figure: PNG; None draws nothing.
        seed: of the noise of generated radiographs.
        shared: see `Evaluation`.
    """

    PARTS = ("grounding", "profile", "phrases", "variants", "generation", "autoencoder", "speed", "shortcuts")

    def __init__(
        self,
        inferer: GroundingInferer,
        sampler: TextToImageInferer,
        patients: int = 2000,
        cache_dir: str | None = None,
        profile: int = 120,
        samples: int = 16,
        variants: Mapping[str, str] | None = None,
        phrases: GroundingRadiographs | None = None,
        figure: str | Path | None = None,
        seed: int = 0,
        **shared: Any,
    ) -> None:
        self.others = dict(variants or {})
        settings: dict[str, Any] = {"patients": patients, "profile": profile, "samples": samples, "seed": seed}
        settings |= {"steps": sampler.steps, "guidance": sampler.guidance, "variants": sorted(self.others)}
        if phrases is not None:
            settings |= {"phrases": [[str(row["path"]), row["phrase"]] for row in phrases.rows], "fit": phrases.fit}
        self.sentences = phrases
        super().__init__(inferer=inferer, settings=settings, **shared)
        self.sampler, self.count, self.samples = sampler, int(profile), int(samples)
        self.pool: dict[str, Any] = {
            "patients": patients,
            "studies": 2,
            "size": 128,
            "findings": "draw",
            "cache_dir": cache_dir,
        }
        self.figure, self.seed = figure, int(seed)

    # --- what the parts share ----------------------------------------------------------------------------------------

    def rows(self, split: str) -> ChestPhantomDataset:
        """Phantoms of a split, one exposure a study."""
        return ChestPhantomDataset(split, exposures="fixed", **self.pool)

    @cached_property
    def test(self) -> ChestPhantomDataset:
        return self.rows("TEST")

    @cached_property
    def findings(self) -> list[dict[str, Any]]:
        """Every finding of the TEST studies."""
        return findings_of(self.test)

    @torch.inference_mode()
    def latents(self, rows: ChestPhantomDataset, numbers: Sequence[int]) -> torch.Tensor:
        """Normalised latents (N, C, h, w) of rows."""
        images = [
            torch.stack([rows[n]["image"] for n in numbers[i : i + BATCH]]) for i in range(0, len(numbers), BATCH)
        ]
        return torch.cat([self.network.encode(part.to(self.device)).cpu() for part in images])

    def maps(
        self,
        latents: torch.Tensor,
        prompts: Sequence[str],
        kinds: Sequence[str],
        inferer: GroundingInferer | None = None,
        network: Any = None,
    ) -> torch.Tensor:
        """Maps (N, h, w) of prompts, by the words of each one's finding."""
        inferer, found = inferer or self.inferer, []
        for first in range(0, len(latents), BATCH):
            part = slice(first, first + BATCH)
            sought = [SOUGHT[kind] for kind in kinds[part]]
            found.append(
                inferer.attention(latents[part].to(self.device), prompts[part], network or self.network, sought)
            )
        return torch.cat(found)

    @cached_property
    def measured(self) -> dict[str, torch.Tensor]:
        """Latents of the TEST findings' studies and maps: of the noun, of the whole phrase, of what is absent."""

        def make() -> dict[str, torch.Tensor]:
            latents = self.latents(self.test, [one["row"] for one in self.findings])
            kinds, absent = [one["kind"] for one in self.findings], self.absent()
            return {
                "latents": latents,
                "noun": self.maps(latents, [noun(kind) for kind in kinds], kinds),
                "phrase": self.maps(latents, [one["phrase"] for one in self.findings], kinds),
                "absent": self.maps(latents, [noun(kind) for kind in absent], absent),
            }

        return self.cached("maps", make)

    def absent(self) -> list[str]:
        """For each finding a kind of lesion that its study does not have."""
        found = []
        for number, one in enumerate(self.findings):
            there = {other["kind"] for other in self.test.record(one["row"])["findings"]}
            left = [kind for kind in LESIONS if kind not in there] or [LESIONS[0]]
            found.append(left[number % len(left)])
        return found

    def others_map(self) -> list[int]:
        """For each finding the number of the next one of its kind in another patient."""
        found = []
        for number, one in enumerate(self.findings):
            patient, turn = self.test.record(one["row"])["patient"], len(self.findings)
            later = ((number + step) % turn for step in range(1, turn + 1))
            same = (n for n in later if self.findings[n]["kind"] == one["kind"])
            other = (n for n in same if self.test.record(self.findings[n]["row"])["patient"] != patient)
            found.append(next(other, number))
        return found

    @cached_property
    def boxes(self) -> Boxes:
        """Mean boxes of the TRAIN findings."""
        return Boxes(findings_of(self.rows("TRAIN")), 128)

    # --- grounding ---------------------------------------------------------------------------------------------------

    def grounding(self) -> Found:
        """Scores of the maps of TEST findings by noun and by phrase, and the pointing game of the controls."""
        found, kinds = Found(), [one["kind"] for one in self.findings]
        truths = [box_mask([one["box"]], 128) for one in self.findings]
        scored = {name: scored_maps(self.measured[name], truths) for name in ("noun", "phrase")}
        absent = self.pictures("absent")
        other = self.pictures("noun")[self.others_map()]
        control = {
            "absent finding": [hits(heat, truth) for heat, truth in zip(absent, truths)],
            "another patient's map": [hits(heat, truth) for heat, truth in zip(other, truths)],
            "position prior": [hits(self.boxes.of(kind), truth) for kind, truth in zip(kinds, truths)],
        }
        groups = self.groups()
        for name, title in (("noun", "finding's noun alone"), ("phrase", "whole phrase of the report")):
            rows = []
            for group, own in groups.items():
                means = mean_scores([scored[name][n] for n in own])
                area = float(np.mean([truths[n].mean() for n in own]))
                lower = [float(np.mean([control[c][n] for n in own])) for c in CONTROLS] if name == "noun" else []
                scores = [round(means[key], 3) for key in SCORES]
                rows.append([group, len(own), round(area, 4), *scores, *(round(value, 3) for value in lower)])
                if group == FREE_GROUP or name == "noun":
                    self.note(found, f"{group} {name}" if name == "phrase" else group, means, area, lower)
            shown = [f"control: {control}" for control in CONTROLS] if name == "noun" else []
            columns = ["finding", "findings", "chance (box area)", "pointing", "AUC", "CNR", "IoU", "mIoU", "distance"]
            found.add(f"Grounding on unseen patients, {title}", [*columns, *shown], rows)
        found.figures["empty_masks"] = int((masks_of(self.measured["noun"], (128, 128)).amax((1, 2, 3)) == 0).sum())
        return found

    def groups(self) -> dict[str, list[int]]:
        """Group of findings -> numbers of its TEST findings: each kind, and those whose places vary."""
        kinds = [one["kind"] for one in self.findings]
        members = {kind: (kind,) for kind in SOUGHT if kind in kinds} | {FREE_GROUP: FREE}
        return {group: [n for n, kind in enumerate(kinds) if kind in own] for group, own in members.items()}

    @staticmethod
    def note(found: Found, group: str, means: Mapping[str, float], area: float, lower: Sequence[float]) -> None:
        """Put a group's scores among the figures; those of the criteria are called "free"."""
        key = group.replace(FREE_GROUP, "free").replace(" ", "_")
        found.figures |= {f"{name}_{key}": round(means[name], 4) for name in ("pointing", "auc", "cnr", "miou")}
        found.figures[f"chance_{key}"] = round(area, 4)
        for control, value in zip(CONTROLS, lower):
            found.figures[f"control_{control.split()[0]}_{key}"] = round(value, 4)
        if lower:
            found.figures[f"control_highest_{key}"] = round(max(lower), 4)

    def pictures(self, name: str) -> np.ndarray:
        """Maps of `measured`, enlarged, (N, S, S)."""
        return enlarged(self.measured[name], (128, 128))[:, 0].numpy()

    def shortcuts(self) -> Found:
        """What could find the findings alone: maps that read no phrase, no radiograph, or another finding's phrase."""
        kinds, rows = ([one[key] for one in self.findings] for key in ("kind", "row"))
        images = np.stack([self.test[row]["image"][0].numpy() for row in rows])
        maps = {name: self.pictures(name) for name in ("noun", "phrase")}
        maps |= {name: enlarged(one, (128, 128))[:, 0].numpy() for name, one in self.unread().items()}
        maps["elsewhere"] = elsewhere(maps["noun"], kinds, rows)
        maps |= without_network(images, kinds, self.boxes)
        truths = [box_mask([one["box"]], 128) for one in self.findings]
        return tabled(maps, truths, self.groups(), FREE_GROUP)

    def unread(self) -> dict[str, torch.Tensor]:
        """Maps (N, h, w) of the TEST findings' radiographs by "shuffled" phrases, and the mean of all "nouns"."""

        def make() -> dict[str, torch.Tensor]:
            latents, order = self.measured["latents"], np.random.default_rng(1).permutation(len(self.findings))
            others = [self.findings[number] for number in order]
            rows, first, which = np.unique(
                [one["row"] for one in self.findings], return_index=True, return_inverse=True
            )
            each, known = latents[torch.from_numpy(first)], sorted({one["kind"] for one in self.findings})
            nouns = [self.maps(each, [noun(kind)] * len(rows), [kind] * len(rows)) for kind in known]
            return {
                "shuffled": self.maps(latents, [one["phrase"] for one in others], [one["kind"] for one in others]),
                "nouns": torch.stack(nouns).mean(0)[torch.from_numpy(which)],
            }

        return self.cached("unread_maps", make)

    # --- how the settings were chosen, and what else was trained ------------------------------------------------------

    @cached_property
    def validation(self) -> tuple[list[dict], torch.Tensor, list[np.ndarray]]:
        """VAL findings of lesions, their latents and their boxes."""
        rows = self.rows("VAL")
        found = [one for one in findings_of(rows) if one["kind"] in LESIONS][: self.count]
        return found, self.latents(rows, [one["row"] for one in found]), [box_mask([one["box"]], 128) for one in found]

    def compare(self, inferer: GroundingInferer, network: Any = None) -> list[float]:
        """Pointing and AUC over VAL lesions, and pointing over nodules and consolidations."""
        findings, latents, truths = self.validation
        kinds = [one["kind"] for one in findings]
        heats = enlarged(self.maps(latents, [noun(kind) for kind in kinds], kinds, inferer, network), (128, 128))
        scored = [score(heat[0].numpy(), truth, truth) for heat, truth in zip(heats, truths)]
        free = [one["pointing"] for one, kind in zip(scored, kinds) if kind in FREE]
        means = mean_scores(scored)
        return [round(value, 3) for value in (means["pointing"], float(np.mean(free)), means["auc"])]

    def profile(self) -> Found:
        """Layers and timesteps on VAL patients, from which the bundle's settings were chosen."""
        found, few = Found(), TIMESTEPS[::8]
        rows = [
            ["the bundle's", *self.compare(self.inferer)],
            ["all layers, published", *self.compare(GroundingInferer())],
        ]
        for layer in attention_layers(self.network.denoiser):
            rows.append([f"{layer}, t = {few[0]} to {few[-1]}", *self.compare(GroundingInferer(layer, few))])
        for first in (1, 101, 201, 301, 401, 601, 781):
            steps = (first, first + 20)
            rows.append(
                [
                    f"bundle's layers, t = {first} to {first + 20}",
                    *self.compare(GroundingInferer(self.inferer.layers, steps)),
                ]
            )
        columns = ["layers and timesteps", "pointing, lesions", "pointing, nodule and consolidation", "AUC, lesions"]
        found.add(f"Choice of layers and timesteps, {len(self.validation[0])} lesions of VAL patients", columns, rows)
        return found

    def phrases(self) -> Found:
        """Phrases of a data set, whose boxes are the truth."""
        found = Found()
        if self.sentences is not None:
            scores = phrase_scores(self.network, self.inferer, self.sentences, self.device)
            found.add("Phrases and boxes of a data set", COLUMNS, phrase_table(scores))
        return found

    def variants(self) -> Found:
        """Other trainings on the same VAL findings, with the bundle's settings and with the published ones."""
        found, rows = Found(), []
        for name, path in self.others.items():
            network = read_variant(self.network, path).to(self.device)
            published = self.compare(GroundingInferer(ALL, TIMESTEPS[::4]), network)
            rows.append([name, *self.compare(self.inferer, network), *published])
            key = name.split(",")[0].replace(" ", "_")
            found.figures |= {f"pointing_{key}": rows[-1][1], f"auc_{key}": rows[-1][3]}
        if rows:
            columns = ["training", "pointing", "pointing, nodule and consolidation", "AUC"]
            found.add(
                "Text encoder frozen or learnable, equal steps, lesions of VAL patients",
                [*columns, *(f"{column}, all layers" for column in columns[1:])],
                rows,
            )
            if {"pointing_frozen", "pointing_learnable"} <= set(found.figures):
                gain = found.figures["pointing_frozen"] - found.figures["pointing_learnable"]
                found.figures["pointing_frozen_minus_learnable"] = round(gain, 4)
        return found

    # --- generation --------------------------------------------------------------------------------------------------

    def generate(self, prompts: Sequence[str], salt: int = 0) -> np.ndarray:
        """Radiographs (N, S, S) of prompts; the n-th has the n-th noise."""
        seeds = [int(np.random.SeedSequence([self.seed, salt, n]).generate_state(1)[0]) for n in range(len(prompts))]
        shape = self.network.latent_shape
        noise = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        parts = range(0, len(prompts), BATCH)
        made = [
            self.sampler(noise[i : i + BATCH].to(self.device), self.network, prompts[i : i + BATCH]).cpu()
            for i in parts
        ]
        return torch.cat(made)[:, 0].numpy()

    def generation(self) -> Found:
        """Whether generated radiographs show what was requested: side of a finding, size of the heart, likeness."""
        found, rows, count = Found(), [], self.samples
        for kind in SIDED:
            left, right = (self.generate([f"large {side} {noun(kind)}"] * count) for side in ("left", "right"))
            shown = side_of(left, right)
            rows.append(
                [
                    f"large left or right {noun(kind)}",
                    "pairs of equal noise in which the requested half is the brighter one",
                    round(shown, 3),
                ]
            )
            found.figures[f"side_right_{kind}"] = round(shown, 4)
        large, normal = (self.generate([text] * count) for text in ("marked cardiomegaly", "normal chest radiograph"))
        ratios = [measure_ctr(images[:, None]) for images in (large, normal)]
        rows.append(["marked cardiomegaly", "cardiothoracic ratio, mean", round(float(ratios[0].mean()), 3)])
        rows.append(["normal chest radiograph", "cardiothoracic ratio, mean", round(float(ratios[1].mean()), 3)])
        found.figures["ctr_cardiomegaly"], found.figures["ctr_normal"] = (round(float(r.mean()), 4) for r in ratios)
        found.add(f"Generated radiographs, {count} of each prompt", ["prompt", "measure", "value"], rows)
        return found

    def autoencoder(self) -> Found:
        """What the latents keep of TEST radiographs: grey levels, heart, and whose they are."""
        found = Found()
        images = torch.stack([self.test[n]["image"] for n in range(0, len(self.test), 4)])
        with torch.inference_mode():
            restored = torch.cat(
                [self.network.decode(self.network.encode(part)).clamp(0, 1) for part in images.split(BATCH)]
            )
        kept = float(np.mean([psnr(*pair) for pair in zip(restored, images)]))
        ctr = np.abs(measure_ctr(images) - measure_ctr(restored))
        alike = similarities(restored, images)
        first = float((alike.argmax(1) == np.arange(len(images))).mean())
        found.figures = {
            "autoencoder_psnr": round(kept, 2),
            "autoencoder_l1": round(float((restored - images).abs().mean()), 4),
            "autoencoder_ctr_error": round(float(ctr.mean()), 4),
            "autoencoder_identity": round(first, 4),
        }
        rows = [["PSNR in dB", round(kept, 2)], ["mean absolute error", found.figures["autoencoder_l1"]]]
        rows += [["change of the measured cardiothoracic ratio", found.figures["autoencoder_ctr_error"]]]
        rows += [[f"nearest of {len(images)} by the identity instrument is its own radiograph", round(first, 3)]]
        found.add("What the autoencoder keeps of unseen patients' radiographs", ["measure", "value"], rows)
        return found

    def speed(self) -> Found:
        """Seconds for one heat map and for one generated radiograph, one thread of a CPU or a GPU."""
        image = self.test[0]["image"][None].to(self.device)
        found, start = Found(), time.perf_counter()
        self.inferer(image, self.network, ["pleural effusion"])
        middle = time.perf_counter()
        self.generate(["pleural effusion"])
        seconds = [round(middle - start, 2), round(time.perf_counter() - middle, 2)]
        found.figures = {"seconds_heat_map": seconds[0], "seconds_generated": seconds[1]}
        found.figures[f"seconds_per_sample_{self.kind_of_device}"] = seconds[0]
        return found

    def draw(self, found: Mapping[str, Found]) -> None:
        """Generated radiographs beside phantoms, and heat maps with boxes."""
        if self.figure and {"grounding", "generation"} <= set(found):
            draw(self, self.figure)


def noun(kind: str) -> str:
    """What a finding is called when nothing else is said."""
    return NOUNS.get(kind, kind)


def scored_maps(maps: torch.Tensor, truths: Sequence[np.ndarray]) -> list[dict[str, float]]:
    """Scores of maps (N, h, w) against truths, bool (S, S) each."""
    rows, columns = truths[0].shape
    heats = enlarged(maps, (rows, columns))[:, 0].numpy()
    masks = masks_of(maps, (rows, columns))[:, 0].numpy() > 0
    return [score(heat, mask, truth) for heat, mask, truth in zip(heats, masks, truths)]


def side_of(left: np.ndarray, right: np.ndarray) -> float:
    """Share of pairs (N, S, S), of equal noise, in which a bright finding lies on the requested side.

    The patient's left is on the picture's right. What differs between the two is taken as the finding.
    """
    change, half = left - right, left.shape[-1] // 2
    return float((change[..., half:].mean((1, 2)) > change[..., :half].mean((1, 2))).mean())


def draw(evaluation: ChestDistillationEvaluation, path: str | Path) -> None:
    """PNG: above, generated radiographs beside phantoms of the same finding; below, heat maps of nouns with boxes."""
    kinds = ["nodule", "consolidation", "effusion", "pneumothorax", "cardiomegaly"]
    figure = new_figure(10, 8.4)
    made = evaluation.generate([f"large left {noun(k)}" if k in LESIONS else "marked cardiomegaly" for k in kinds], 7)
    chosen = [[n for n, one in enumerate(evaluation.findings) if one["kind"] == kind][3] for kind in kinds]
    heats = evaluation.pictures("noun")[chosen]
    for column, (kind, number) in enumerate(zip(kinds, chosen)):
        one = evaluation.findings[number]
        real = evaluation.test[one["row"]]["image"][0].numpy()
        x, y, w, h = one["box"]
        for row, picture in enumerate((made[column], real, real)):
            axes = figure.add_subplot(3, len(kinds), row * len(kinds) + column + 1)
            axes.imshow(picture, cmap="gray", vmin=0, vmax=1)
            axes.axis("off")
            if row:
                axes.plot([x, x + w, x + w, x, x], [y, y, y + h, y + h, y], color="lime", linewidth=1)
            if row == 2:
                axes.imshow(heats[column], cmap="inferno", alpha=0.55, vmin=0, vmax=1)
            axes.set_title([f"generated: {kind}", "phantom, its box", f"map of '{noun(kind)}'"][row], fontsize=8)
    save_figure(figure, path, dpi=90, pad=0.4)
