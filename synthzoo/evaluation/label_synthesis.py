"""What the evaluations of label-to-image synthesis of slices and of volumes share (arXiv 2209.08256, 2311.04552).

Each figure stands beside its controls: shuffled requests and styles, a painter that gives each class one intensity with
noise, and the phantom's own image as the ceiling.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch

from synthzoo.evaluation.base import Evaluation, Found
from synthzoo.evaluation.baselines import MonaiSampler
from synthzoo.evaluation.denoiser_parts import ClosedFormAlone, has_closed_form, with_denoiser
from synthzoo.evaluation.label_scores import (
    TISSUES,
    class_statistics,
    dice_by_class,
    fitted_means,
    mean_painter,
    resegmentation_dice,
    rows_of,
    summary,
    tissue_means,
)
from synthzoo.inferers.label_to_image import LabelToImageInferer, cleaned
from synthzoo.metrics.agreement import conditioning
from synthzoo.metrics.memorisation import memorisation
from synthzoo.phantoms.brain.label_maps import CLASSES, LESIONS
from synthzoo.phantoms.brain.label_pool import MEASURED

HELD_OUT = "PD"  # the contrast that no painter and no segmenter is trained on with labels
STYLES = ("T1w", "T1Gd", "T2w", "FLAIR", HELD_OUT)
TISSUE_CLASSES = ("CSF", "ventricle", "GM", "WM", "deep_GM")
FEWEST_ABSENT = 5  # requests of 0 from which on the share of those that stayed absent is a criterion's


class LabelSynthesisEvaluation(Evaluation):
    """Figures of a `LabelToImage`; a subclass gives the phantoms and what their dimension alone has.

    Args:
        inferer: that of the bundle.
        count: label maps and requests of each part.
        settings: of the subclass, which decide its numbers.
        seed: of requests, noise and styles.
        shared: see `Evaluation`.
    """

    BATCH: ClassVar[int] = 16
    KIND: ClassVar[str] = "slices"
    LEAST_ML: ClassVar[float] = 0.02  # of a lesion: less is absent, and a request of 0 may give ten times this
    PAINTED_IN: ClassVar[tuple[str, ...]] = STYLES
    EACH: ClassVar[int] = 4  # share of `count`, one in so many, that is painted in each contrast

    def __init__(
        self, inferer: LabelToImageInferer, count: int, settings: Mapping[str, Any], seed: int = 0, **shared: Any
    ) -> None:
        known = {"count": count, **settings, "seed": seed, "steps": inferer.steps, "guidance": inferer.guidance}
        super().__init__(inferer=inferer, settings=known, **shared)
        self.count, self.seed = int(count), int(seed)

    # --- what a subclass gives ---------------------------------------------------------------------------------------

    @property
    def truth(self) -> tuple[np.ndarray, np.ndarray]:
        """Label maps (N, K, ...) of test phantoms, and their conditions (N, C)."""
        raise NotImplementedError

    def styled(self, contrast: str, salt: int, count: int) -> tuple[np.ndarray, ...]:
        """Label maps A (N, K, ...) with their image under a scan, and slices B (N, h, w) of other subjects under the
        same scan with their maps: (maps A, image A, maps B, image B)."""
        raise NotImplementedError

    def floor(self, own: np.ndarray, style: np.ndarray) -> dict[str, np.ndarray]:
        """Name -> images that a painter has to beat."""
        raise NotImplementedError

    # --- what the parts share ----------------------------------------------------------------------------------------

    @torch.inference_mode()
    def generate(self, conditions: np.ndarray, salt: int, network: Any = None) -> torch.Tensor:
        """Label maps float16 (N, K, ...) for conditions (N, C), NaN where left out, by this network or another."""
        found, network = [], self.network if network is None else network
        noise = torch.Generator().manual_seed(self.seed * 1000 + salt)
        for part in torch.as_tensor(conditions, dtype=torch.float32).split(self.BATCH):
            start = torch.randn(len(part), *network.latent_shape, generator=noise)
            maps = self.inferer.sample(start.to(self.device), network, part.to(self.device))
            found.append(cleaned(maps).cpu().half())
        return torch.cat(found)

    @torch.inference_mode()
    def painted(self, maps: np.ndarray, styles: np.ndarray, blocks: bool = True) -> np.ndarray:
        """Images (N, ...) painted on label maps (N, K, ...) in the styles of slices (N, h, w).

        Without `blocks` by the intensities alone that the style code gives to the classes.
        """
        found, painter = [], self.network.painter
        for first in range(0, len(maps), self.BATCH):
            part = slice(first, first + self.BATCH)
            style = torch.as_tensor(styles[part], dtype=torch.float32)[:, None].to(self.device)
            shown = torch.as_tensor(maps[part]).float().to(self.device)
            code = painter.style(style)[0]
            image = painter(shown, code) if blocks else painter.toned(shown, code) * (1 - shown[:, :1])
            found.append(image[:, 0].clamp(0, 1).cpu().numpy())
        return np.concatenate(found)

    @cached_property
    def generated(self) -> torch.Tensor:
        """Label maps generated for the conditions of `truth`."""
        return self.cached("generated", lambda: {"maps": self.generate(self.truth[1], 2)})["maps"]

    def millilitres(self, maps: torch.Tensor) -> dict[str, np.ndarray]:
        """mL by class of label maps (N, K, ...)."""
        parts = [self.inferer.volumes(part.float()) for part in maps.split(self.BATCH)]
        return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}

    # --- labels ------------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def autoencoder(self) -> Found:
        """Dice of the arg-max of test slices through the autoencoder."""
        maps, found = torch.from_numpy(self.truth[0]), Found()
        parts = maps.split(self.BATCH)
        back = torch.cat([self.network.autoencoder(part.float().to(self.device)).argmax(1).cpu() for part in parts])
        truth = torch.cat([part.float().argmax(1) for part in parts])
        dice = dice_by_class(back.numpy(), truth.numpy(), range(1, len(CLASSES)))
        found.add(f"Label maps through the autoencoder, {len(maps)} test {self.KIND}", ["class", "Dice"], rows_of(dice))
        found.figures = {
            "autoencoder_dice": round(summary(dice, TISSUE_CLASSES), 4),
            "autoencoder_dice_lesions": round(summary(dice, LESIONS), 4),
            "autoencoder_dice_WMH": round(summary(dice, ("WMH",)), 4),
            "autoencoder_dice_lowest": round(float(np.nanmin(list(dice.values()))), 4),
        }
        return found

    def loads(self) -> Found:
        """Requested volumes against those in the generated label maps, by class."""
        requested, found, rows = self.truth[1], Found(), []
        measured, linear = self.millilitres(self.generated), None
        if has_closed_form(self.network):
            alone = with_denoiser(self.network, ClosedFormAlone(self.network.denoiser.gaussian))
            made = self.cached("linear", lambda: {"maps": self.generate(requested, 2, alone)})
            linear = self.millilitres(made["maps"])
        for number, name in enumerate(MEASURED):
            asked, got = requested[:, number], measured[name]
            one, present = conditioning(asked, got, self.seed), asked > self.LEAST_ML
            absent = float((got[~present] < 10 * self.LEAST_ML).mean()) if (~present).any() else None
            alone = conditioning(asked[present], got[present], self.seed)["r"] if present.sum() >= 8 else None
            rows.append([name, one["r"], one["slope"], one["mae"], one["shuffled"]["r"], int(present.sum()), alone])
            rows[-1].append(None if absent is None else round(absent, 3))
            if linear is not None:
                rows[-1].append(conditioning(asked, linear[name], self.seed)["r"])
            short = name.removesuffix("_ml").lower()
            found.figures |= {f"{short}_r": one["r"], f"{short}_r_shuffled": one["shuffled"]["r"]}
            if absent is not None:
                found.figures[f"{short}_kept_absent"] = round(absent, 4)
        lesions = [f"{name.lower()}_r" for name in LESIONS]
        found.figures["lesion_r_lowest"] = min(found.figures[name] for name in lesions)
        kept = [row[7] for row in rows if row[7] is not None and len(requested) - row[5] >= FEWEST_ABSENT]
        if kept:
            found.figures["absent_lowest"] = min(kept)
        columns = ["mL", "r", "slope", "mean absolute error", "r shuffled", "requests above 0"]
        columns += ["r of these", f"share of requests of 0 that stayed below {10 * self.LEAST_ML:g} mL"]
        columns += [] if linear is None else ["r of the closed form alone"]
        title = f"Requested against generated volumes, {len(requested)} requests as test {self.KIND} have them"
        found.add(title, columns, rows)
        return found

    # --- images ------------------------------------------------------------------------------------------------------

    def painting(self) -> Found:
        """Dice of labels with the re-segmentation, by the nearest mean, of what was painted on them."""
        found, rows, ceiling = Found(), [], {}
        for contrast in self.PAINTED_IN:
            maps, own, other, style = self.styled(contrast, 3, self.count // self.EACH)
            images = {"phantom (ceiling)": own, "painted": self.painted(maps, style)}
            if self.network.painter.tones is not None:
                images["painted, blocks silenced"] = self.painted(maps, style, blocks=False)
            shortcut = [
                mean_painter(m, *class_statistics(s, o), n) for n, (m, o, s) in enumerate(zip(maps, other, style))
            ]
            images |= {"one intensity a class": np.stack(shortcut), **self.floor(own, style)}
            means = [fitted_means(image, m) for image, m in zip(style, other)]
            scores = {
                name: np.nanmean([resegmentation_dice(i, m, mean) for i, m, mean in zip(stack, maps, means)]).item()
                for name, stack in images.items()
            }
            error = float(np.abs(images["painted"] - own)[maps[:, 0] < 0.5].mean())
            plain = float(np.abs(images["one intensity a class"] - own)[maps[:, 0] < 0.5].mean())
            rows.append([contrast, *(round(score, 3) for score in scores.values()), round(error, 4), round(plain, 4)])
            found.figures |= {f"reseg_dice_{contrast}": round(scores["painted"], 4), f"painted_mae_{contrast}": error}
            ceiling[contrast] = scores["phantom (ceiling)"]
        columns = ["contrast", *images, "error painted", "error one intensity a class"]
        title = "Re-segmentation by the nearest tissue mean of another subject's slice of the same scan: Dice with the "
        found.add(title + "labels painted on; mean absolute error to the phantom's own image", columns, rows)
        clear = ("T1w", "T2w")  # in which all three tissues stand apart
        reached = [found.figures[f"reseg_dice_{contrast}"] for contrast in clear]
        found.figures["reseg_dice"] = round(sum(reached) / len(clear), 4)
        found.figures["reseg_dice_phantom"] = round(sum(ceiling[contrast] for contrast in clear) / len(clear), 4)
        return found

    def style(self) -> Found:
        """Means by tissue in the painted image against those in the style slice of another subject."""
        found, rows, every = Found(), [], []
        for contrast in self.PAINTED_IN:
            maps, _, other, style = self.styled(contrast, 4, self.count // self.EACH)
            painted = self.painted(maps, style)
            pairs = np.array(
                [(tissue_means(s, o), tissue_means(i, m)) for s, o, i, m in zip(style, other, painted, maps)]
            )
            wanted, got = (pairs[:, k].ravel() for k in range(2))
            known = np.isfinite(wanted) & np.isfinite(got)
            one = conditioning(wanted[known], got[known], self.seed)
            every.append((wanted[known], got[known]))
            each = []
            for tissue in range(len(TISSUES)):
                both = pairs[:, :, tissue][np.isfinite(pairs[:, :, tissue]).all(1)]
                each.append(conditioning(both[:, 0], both[:, 1], self.seed)["r"] if len(both) >= 3 else None)
            rows.append([contrast, one["r"], one["slope"], one["mae"], one["shuffled"]["r"], *each])
            found.figures[f"style_r_{contrast}"] = one["r"]
        all_wanted, all_got = (np.concatenate(part) for part in zip(*every))
        whole = conditioning(all_wanted, all_got, self.seed)
        rows.append(["all", whole["r"], whole["slope"], whole["mae"], whole["shuffled"]["r"], *[None] * len(TISSUES)])
        found.figures |= {"style_r": whole["r"], "style_r_shuffled": whole["shuffled"]["r"]}
        columns = ["contrast", "r", "slope", "mean absolute error", "r shuffled", *(f"r {name}" for name in TISSUES)]
        title = f"Tissue means of painted images against those of the style slice, of another subject; {HELD_OUT} is a "
        found.add(title + "contrast that the painter was never trained on", columns, rows)
        return found

    def compared(self, train: np.ndarray, unseen: np.ndarray, flat: Callable[[Any], np.ndarray]) -> Found:
        """Distances of generated label maps to their nearest training maps and to as many of unseen subjects.

        Args:
            train, unseen: as `flat` makes them.
            flat: label maps (N, K, ...) -> (N, 1, ...), a number for each voxel.
        """
        found = Found()
        one = memorisation(flat(self.generated.numpy()), train, flat(self.truth[0]), unseen)
        found.figures = {"memorisation": one["verdict"], "nearest_ratio": one["generated_q_median"]}
        found.figures |= {"nearest_min": one["generated_min"], "nearest_min_held_out": one["held_out_min"]}
        rows = [
            [kind, *(one[f"{kind}_{key}"] for key in ("median", "min", "q_median", "q_min"))]
            for kind in ("generated", "held_out")
        ]
        title = (
            f"Distance of label maps to the nearest of {len(train)} training maps, and q, that over the distance to "
        )
        found.add(
            title + "the nearest of as many unseen ones", ["maps", "median", "smallest", "median q", "smallest q"], rows
        )
        return found

    def speed(self) -> Found:
        """Seconds of sampling and of painting, and of MONAI's own inferer with the same weights."""
        conditions = torch.as_tensor(self.truth[1][: self.BATCH], dtype=torch.float32)
        noise = torch.randn(len(conditions), *self.network.latent_shape, generator=torch.Generator().manual_seed(0))
        styles = np.stack([self.styled("T1w", 12, 4 * self.BATCH)[3][0]] * len(conditions))
        plain = MonaiSampler(self.network, self.inferer.steps)
        times: dict[str, list[float]] = {"sampling": [], "painting": [], "MONAI's inferer, unguided": []}
        for _ in range(3):
            for name, run in {
                "sampling": lambda: self.inferer.sample(noise, self.network, conditions),
                "painting": lambda: self.painted(self.truth[0][: self.BATCH], styles),
                "MONAI's inferer, unguided": lambda: plain(noise, None, conditions),
            }.items():
                began = time.process_time()
                with torch.inference_mode():
                    run()
                times[name].append((time.process_time() - began) / len(conditions))
        found = Found(figures={"seconds_per_label_map": round(min(times["sampling"]), 4)})
        found.figures |= {"seconds_per_image": round(min(times["painting"]), 4)}
        rows = [[name, round(min(values), 4)] for name, values in times.items()]
        found.add(
            f"Processor seconds for each of the {self.KIND}, batches of {self.BATCH}, {self.inferer.steps} steps",
            ["what", "seconds"],
            rows,
        )
        return found
