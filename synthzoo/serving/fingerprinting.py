"""The fingerprint as a test of an audit: is one marked training image counted among the samples?

The detectors are those of a bundle `<anatomy>_<modality>_privacy_audit_fingerprint`, which is run on the folder of
samples; they learn the image on the spot.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from synthzoo.bundle.compose import run_bundle
from synthzoo.bundle.find import find_bundles, read_json
from synthzoo.errors import UserError
from synthzoo.evaluation.privacy import attacks
from synthzoo.evaluation.privacy.audit import Compared, Probe

METHOD = "_privacy_audit_fingerprint"
SEEN_BY = "two detectors, of the mark and of the image"


def fingerprint_probe(image: str | Path, samples: str | Path, root: str | Path = ".", seed: int = 0) -> Probe:
    """The test of samples for a marked image, an entry of `synthzoo.evaluation.privacy.audit.PROBES`.

    Args:
        image: file of the marked training image, as the generator saw it.
        samples: folder of the samples.
        root: where the bundle of the detectors is looked for.
        seed: of the samples that say how often the detectors are wrong.

    Raises:
        UserError: no such file, or no bundle of such detectors; when the test runs, what the bundle says of the image.
    """
    path = Path(str(image))
    if not path.is_file():
        raise UserError(f"--fingerprint {path} is no file: give the one training image that was marked.")
    bundles = [folder for folder in find_bundles(root) if folder.name.endswith(METHOD)]
    if not bundles:
        raise UserError(f"--fingerprint {path}: no bundle *{METHOD} lies in {root}, so nothing can detect the mark.")

    def probe(compared: Compared) -> dict[str, Any] | None:
        if compared.samples.images.kind != "image":
            raise UserError(
                f"--fingerprint {path}: a mark is counted in pictures, but these are no pictures: leave it out."
            )
        return counted_by(bundles[0], path, Path(samples), seed)

    return probe


def counted_by(bundle: Path, image: Path, samples: Path, seed: int = 0) -> dict[str, Any]:
    """The entry of an audit's tests that a bundle's detectors give."""
    with tempfile.TemporaryDirectory(prefix="fingerprint_") as folder:
        given = {"images": image, "generator": samples.resolve(), "fingerprint": "none", "seed": seed}
        run_bundle(bundle, overrides={**given, "output_dir": folder})
        [sidecar] = Path(folder).glob("*/*_fingerprint.json")
        found = read_json(sidecar)
    made, false, chance = found["samples"], found["false_positives"], found["q"]["chance"]
    entry = attacks.counted(made["both"], made["counted"], false["both"], false["counted"], chance)
    return {"test": "marked_image", "space": "detectors", "compared_by": SEEN_BY, **entry, "said": found["sentence"]}
