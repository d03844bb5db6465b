"""The rows of the table measured one by one: FID and MS-SSIM of what a bundle generates, beside its controls.

Of each modality there are two sets of phantoms of different held-out subjects. The first is what all are compared with.
The second one's conditions are what the bundle is asked for, and it is itself the row of real against real: what is
generated differs from it in nothing but who made it. Controls are the second set blurred, noisy, an eighth of it
repeated, and mixed linearly (what a Gaussian of the pixels would give); where a bundle's denoiser holds a closed form,
that alone through the same config is one, too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage as ndi

from synthzoo.errors import UserError
from synthzoo.evaluation.adaptability.features import NAME, frechet, image_features, network_sha256
from synthzoo.evaluation.adaptability.modalities import ROWS, Modality, Phantoms, Row
from synthzoo.io.files import atomic_path, plain, sha256, write_json
from synthzoo.metrics.fidelity import pairwise_ms_ssim
from synthzoo.phantoms.cache import settings_key

# Numbers of held-out subjects, beyond the evaluations'. The CT instrument's own begin there, too, but measure no row.
FIRST, LAST = 80_000, 90_000
BLUR, NOISE, REPEATED = 1.0, 0.05, 8  # pixels, standard deviation, and the share that is repeated, one in so many
VERSION = 1  # of the phantoms' rows and requests; another number leaves what lies in work_dir aside
LOOKS = ("pairs", "features_sha256")  # settings that change no image
CLOSED_FORM = {
    "evaluator#network": {
        "_target_": "synthzoo.evaluation.denoiser_parts.closed_form_alone",
        "network": "@network",
    }
}


class AdaptabilityTable:
    """Measures rows and keeps the report; a row that was measured under the same settings is not measured again.

    Args:
        run: runs a bundle, as the command line would: (folder, overrides=), such as `bundle.compose.run_bundle`.
        bundles: name -> folder, of those that are there.
        save_to: the report, a JSON file.
        work_dir: keeps phantoms and results, so that a row that was interrupted goes on.
        count: results of each row and phantoms of each set; `Modality.each` times as many where one is a flat image.
        pairs: that MS-SSIM compares.
        seed: of noise, of pairs, and of the subjects.
        rows: name -> row; None are all of `ROWS`.

    Raises:
        UserError: a count below 8, or more subjects than there are.
    """

    def __init__(
        self,
        run: Callable[..., Any],
        bundles: Mapping[str, Path],
        save_to: str | Path,
        work_dir: str | Path,
        count: int = 64,
        pairs: int = 100,
        seed: int = 0,
        rows: Mapping[str, Row] | None = None,
    ) -> None:
        self.first = FIRST + 10 * count * seed  # subjects of another seed are others
        if count < 8 or self.first + 10 * count > LAST:
            raise UserError(
                f"count = {count}, seed = {seed}: a row takes at least 8 images, and there are held-out subjects for a "
                f"count of {(LAST - FIRST) // 10} with seed 0, for half of it with seed 1 and so on."
            )
        self.run, self.bundles = run, dict(bundles)
        self.save_to, self.work_dir = Path(save_to), Path(work_dir).resolve()
        self.count, self.pairs, self.seed = int(count), int(pairs), int(seed)
        self.rows = dict(ROWS if rows is None else rows)

    def measure(self, names: Sequence[str] | None = None) -> dict[str, Any]:
        """Measure rows, all whose bundles are there where `names` is None, and return the report, which lists all.

        Raises:
            UserError: an unknown row, or one whose bundle is not there.
        """
        for name in names or ():
            if name not in self.rows:
                raise UserError(f"rows: {name!r} is unknown; the rows are {', '.join(self.rows)}.")
            if not self.is_there(self.rows[name]):
                raise UserError(f"rows: {name} needs {self.rows[name].bundle} and its weights, which are not there.")
        for name in [name for name in self.rows if self.is_there(self.rows[name])] if names is None else names:
            row = self.rows[name]
            old, settings = self.old_rows().get(name, {}).get("measured"), self.settings(row)
            if old and old["settings"] == settings:
                print(f"{name}: measured before", flush=True)
                continue
            start = time.process_time()
            self.report({name: {"settings": settings, **self.measure_row(name, row)}})
            print(f"{name}: measured in {time.process_time() - start:.0f} s of processor time", flush=True)
        return self.report({})

    def is_there(self, row: Row) -> bool:
        """Whether a row's bundle is there, with weights."""
        folder = self.bundles.get(row.bundle)
        return folder is not None and (folder / "models" / "model.pt").is_file()

    def settings(self, row: Row) -> dict[str, Any]:
        """What decides the numbers of a row."""
        folder = self.bundles[row.bundle]
        files = {"weights": folder / "models" / "model.pt", "config": folder / "configs" / "inference.json"}
        own = {"count": self.count, "pairs": self.pairs, "seed": self.seed, "features_sha256": network_sha256()}
        return own | {f"{name}_sha256": sha256(path) for name, path in files.items()}

    def old_rows(self) -> dict[str, dict]:
        """The rows of the report that is there."""
        if not self.save_to.is_file():
            return {}
        return json.loads(self.save_to.read_text(encoding="utf-8"))["rows"]

    def report(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """Write the report with rows that were measured in place of the old ones."""
        old, rows = self.old_rows(), {}
        for name, row in self.rows.items():
            said = {"title": row.title, "bundle": row.bundle, "method": row.method, "requested": row.requested}
            said |= {"features_of": row.modality.seen, "ms_ssim_of": row.modality.compared}
            rows[name] = said | {"measured": found.get(name, old.get(name, {}).get("measured"))}
        settings = {"blur_pixels": BLUR, "noise": NOISE, "repeated": REPEATED, "feature_network": NAME}
        content = {"command": "python scripts/adaptability.py", "settings": settings, "rows": rows}
        write_json(self.save_to, plain(content))
        return content

    # One row.

    def measure_row(self, name: str, row: Row) -> dict[str, Any]:
        """FID and MS-SSIM of each set of a row, by the set's name, and how many images features saw."""
        kept = {key: value for key, value in self.settings(row).items() if key not in LOOKS}
        folder, modality = self.work_dir / f"{name}-{settings_key([VERSION, kept])}", row.modality
        phantoms = self.phantoms(modality, folder)
        count = len(phantoms.images) // 2
        real, asked = phantoms[:count], phantoms[count:]
        sets = {"generated": self.generated(row, asked, folder / "generated")}
        if self.has_closed_form(row):
            sets["closed_form"] = self.generated(row, asked, folder / "closed_form", CLOSED_FORM)
        sets |= {"real": asked.images, **controls(asked.images, modality.axes, self.seed)}
        target = image_features(modality.planes(real.images))
        figures = {}
        for kind, images in sets.items():
            found = image_features(modality.planes(images))
            pairs = pairwise_ms_ssim(modality.units(images), self.pairs, self.seed)
            figures[kind] = {
                "fid": round(frechet(found, target), 6),
                "ms_ssim": pairs["mean"],
                "ms_ssim_std": pairs["std"],
            }
        seen = {"samples": count, "shape": list(asked.images.shape[1:]), "images": len(target)}
        return {"sets": figures, **seen, "pairs": pairs["pairs"]}

    def phantoms(self, modality: Modality, folder: Path) -> Phantoms:
        """Phantoms of both sets, in half precision, made once."""
        path = folder / "phantoms.npz"
        if not path.is_file():
            made = modality.phantoms(2 * self.count * modality.each, self.first)
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                held = {"images": made.images.astype(np.float16), "values": made.values, "labels": made.labels}
                np.savez(file, names=np.array(made.names, dtype=str), **held)
        with np.load(path) as held:
            images, names = held["images"].astype(np.float32), tuple(held["names"].tolist())
            return Phantoms(images, names, held["values"], held["labels"])

    def generated(
        self, row: Row, asked: Phantoms, folder: Path, overrides: Mapping[str, Any] | None = None
    ) -> np.ndarray:
        """Results of a row's bundle through its own inference.json, float32 of the phantoms' shape.

        Raises:
            UserError: the bundle gave another number of results, or images of another shape.
        """
        bundle = self.bundles[row.bundle]
        conditions = self.read(row, "metadata")["synthzoo"].get("conditions", {})
        quiet = {"inferer#progress": False} if "progress" in self.read(row, "inference").get("inferer", {}) else {}
        (folder / "inputs").mkdir(parents=True, exist_ok=True)
        for number, changed in enumerate(row.modality.runs(asked, conditions, folder / "inputs", self.seed)):
            whole = {**quiet, **changed, **(overrides or {}), "output_dir": str(folder / f"run-{number:02d}")}
            self.run(bundle, overrides=whole)
        paths = sorted(folder.glob(f"run-*/*/*_{row.modality.suffix}"))
        images = [row.modality.read(path) for path in paths]
        wanted = asked.images.shape
        if len(images) != len(asked.images) or any(image.shape != wanted[1:] for image in images):
            shapes = sorted({image.shape for image in images})
            raise UserError(
                f"{row.bundle} gave {len(images)} files of shape {shapes} in {folder}, but {wanted[0]} of {wanted[1:]} "
                "are compared with its phantoms: see the messages above, and remove the folder."
            )
        return np.stack(images).astype(np.float16).astype(np.float32)

    def read(self, row: Row, config: str) -> dict[str, Any]:
        """A config of a row's bundle, by its stem."""
        return json.loads((self.bundles[row.bundle] / "configs" / f"{config}.json").read_text(encoding="utf-8"))

    def has_closed_form(self, row: Row) -> bool:
        """Whether a row's images come from a denoiser that adds to a closed form, as those of a painter do not."""
        denoiser = self.read(row, "inference").get("network_def", {}).get("denoiser", {})
        return row.method == "LDM" and bool(denoiser.get("gaussian"))


def controls(images: np.ndarray, axes: int, seed: int) -> dict[str, np.ndarray]:
    """Real images made worse in ways that a measure of fidelity or of diversity has to see, float32 in [0, 1].

    Args:
        images: (N, ...) in [0, 1].
        axes: trailing axes that are space.
        seed: of noise and mixture.

    Returns:
        "blurred"; "noisy"; "mixed", images from a Gaussian of the same mean and covariance as these; "repeated", some
        of the images again and again.
    """
    rng, count = np.random.default_rng([seed, 47]), len(images)
    sigmas = [0.0] * (images.ndim - axes) + [BLUR] * axes
    mean = images.mean(0)
    weights = rng.standard_normal((count, count)).astype(np.float32) / np.sqrt(count - 1)
    mixed = mean + np.tensordot(weights, images - mean, 1)
    few = max(count // REPEATED, 1)
    found = {
        "blurred": ndi.gaussian_filter(images, sigmas),
        "noisy": images + NOISE * rng.standard_normal(images.shape, dtype=np.float32),
        "mixed": mixed,
        "repeated": images[np.arange(count) % few],
    }
    return {name: values.clip(0, 1).astype(np.float32) for name, values in found.items()}
