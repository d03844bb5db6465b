"""The audit as a run of a bundle: private images in, a report of each out.

Per image `<case>_fingerprint.tsv` (the hits curve), `<case>_fingerprint.png` (its picture) and the sidecar
`<case>_fingerprint.json`, which holds the report and one plain sentence.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.inferers import Inferer
from monai.transforms import Transform

from synthzoo.cases.table import CaseTable
from synthzoo.io.files import write_bytes
from synthzoo.io.marks import with_mark
from synthzoo.results.dataset_files import mark_of_row
from synthzoo.systems.adversarial_fingerprint.audit import (
    AuditSettings,
    Bound,
    Tally,
    bound_of,
    curve_of,
    tally,
    tally_of,
)
from synthzoo.systems.adversarial_fingerprint.network import Detectors, Generator
from synthzoo.systems.adversarial_fingerprint.noise_levels import Curve, expect_hits
from synthzoo.systems.adversarial_fingerprint.objective import DetectorDataset, DetectorObjective
from synthzoo.systems.adversarial_fingerprint.report import picture, report_of
from synthzoo.systems.adversarial_fingerprint.sources import (
    WITHOUT,
    SampleFolder,
    folder_images,
    open_generator,
    open_source,
)
from synthzoo.systems.adversarial_fingerprint.stamping import RADIUS, marked
from synthzoo.training import stage

SAME = 0.02  # root mean square difference of grey levels up to which an image is the one that c_ID knows
BATCH, RATE = 32, 2e-3  # of learning another private image


def detectors_for(
    network: Detectors, private: torch.Tensor, steps: int, codec: torch.nn.Module | None = None
) -> Detectors:
    """Detectors whose c_ID knows this private image (1, S, S), without its fingerprint.

    Another image than the network's own is learnt on the spot, from the public images that the network holds, always in
    the same way; c_AF stays.

    Args:
        network: trained on one private image.
        private: the image in question.
        steps: iterations on another one.
        codec: of the generator that is audited, whose blur c_ID learns to see through.
    """
    device = next(network.parameters()).device
    private = private.to(device)
    if float((network.private / 255 - private).square().mean().sqrt()) <= SAME:
        return network
    own = copy.deepcopy(network).requires_grad_(True)
    rows = DetectorDataset(network.public.float().cpu() / 255, private.cpu(), codec)
    trainer = stage(
        own,
        rows,
        DetectorObjective(fingerprint=False),
        own.identity.parameters(),
        max_epochs=1,
        epoch_length=int(steps),
        batch_size=BATCH,
        learning_rate=RATE,
        progress=False,
    )
    with torch.inference_mode(False), torch.enable_grad():  # an evaluator runs without gradients
        trainer.run()
    return own.eval().requires_grad_(False).keep(private.cpu(), network.public / 255)


class FingerprintInferer(Inferer):
    """Audits a generator with private images (B, 1, S, S) and the detectors; returns the hits curve and all counts.

    Args:
        generator: a shipped generator, weights, or a folder of samples, see `open_source`.
        definition: the network of a generator.
        models: the bundle's folder of weights.
        fingerprint: "disc" stamps the private image as training did, "none" takes it with its own fingerprint.
        fingerprint_seed: places the disc.
        radius: of the disc, as a share of the width.
        level_step, runs, steps, samples, others, seed: see `AuditSettings`.
        identity_steps: iterations by which c_ID learns another private image than the shipped one.
        training_dir: folder of the generator's other training images; empty takes those that the detectors hold, which
            the shipped generators were trained on.
        size: S.
    """

    def __init__(
        self,
        generator: str,
        definition: Generator,
        models: str | Path,
        fingerprint: str = "disc",
        fingerprint_seed: int = 0,
        radius: float = RADIUS,
        level_step: float = 0.05,
        runs: int = 16,
        steps: int = 25,
        samples: int = 200,
        others: int = 64,
        seed: int = 0,
        identity_steps: int = 150,
        training_dir: str | Path = "",
        size: int = 128,
    ) -> None:
        self.source = open_source(generator, definition, models, size)
        known = (Path(models) / f"{WITHOUT}.pt").is_file()
        self.without = open_generator(WITHOUT, definition, models) if known else None
        self.fingerprint, self.fingerprint_seed, self.radius = fingerprint, int(fingerprint_seed), float(radius)
        marked(torch.zeros(1, size, size), fingerprint, self.fingerprint_seed, self.radius)
        self.settings = AuditSettings(float(level_step), int(runs), int(steps), int(samples), int(others), int(seed))
        self.identity_steps, self.training_dir, self.size = int(identity_steps), str(training_dir).strip(), int(size)
        self.name = self.source.name if isinstance(self.source, SampleFolder) else Path(str(generator)).stem

    def __call__(self, inputs: torch.Tensor, network: torch.nn.Module, *args: Any, **kwargs: Any) -> dict[str, Any]:
        images = torch.as_tensor(inputs).as_subclass(torch.Tensor).float().cpu()
        detectors: Detectors = getattr(network, "module", network).eval()
        found = [self.audit(image, detectors) for image in images]
        return {key: _stacked([one[key] for one in found]) for key in found[0]}

    def audit(self, private: torch.Tensor, network: Detectors) -> dict[str, Any]:
        """The audit of one private image (1, S, S), see `report_of`; "pred" is float32 (3, T)."""
        device = next(network.parameters()).device
        source = self.source
        codec = source.codec if isinstance(source, Generator) else None if self.without is None else self.without.codec
        detectors = detectors_for(network, private, self.identity_steps, None if codec is None else codec.cpu())
        image = marked(private, self.fingerprint, self.fingerprint_seed, self.radius)
        mistakes = None
        if self.without is not None:
            mistakes = tally_of(self.without.to(device), detectors.seen, image, self.settings, apart=1)
        curve: Curve | None = None
        bound: Bound | None = None
        count: Tally
        n_images = 0
        if isinstance(source, SampleFolder):
            shown = (detectors.seen(image[None]) if codec is None else detectors.seen(_through(codec, image)))[0].int()
            expect_hits(int(shown.min()), 1, int(shown[0]), int(shown[1]), "the private image")
            count = tally(source.images(), detectors.seen, image)
        else:
            source.to(device)
            n_images = int(source.n_images)
            curve = curve_of(source, detectors.seen, image, self.settings)
            count = tally_of(source, detectors.seen, image, self.settings)
            bound = bound_of(source, detectors.seen, curve, self._public(network, n_images), n_images, self.settings)
        return report_of(image, curve, count, mistakes, bound, n_images)

    def _public(self, network: Detectors, n_images: int) -> torch.Tensor:
        """Other images of the training set: those that were named, else the first of those that the detectors hold."""
        if self.training_dir:
            return folder_images(self.training_dir, self.size, self.settings.others)
        return network.public[: max(n_images - 1, 0)].float().cpu() / 255


@torch.no_grad()
def _through(codec: torch.nn.Module, image: torch.Tensor) -> torch.Tensor:
    """An image (1, S, S) as a generator can show it at best, (1, 1, S, S)."""
    return codec.decode(codec.encode(image[None].to(next(codec.buffers()).device))).cpu()


def _stacked(values: list[Any]) -> Any:
    if isinstance(values[0], torch.Tensor):
        return torch.stack(values)
    if isinstance(values[0], Mapping):
        return {key: _stacked([value[key] for value in values]) for key in values[0]}
    return values


class SaveCurve(Transform):
    """Write `<case>_fingerprint.png`: the hits curve, and what the generator makes of the private image.

    Args:
        table: the run's.
        generator: name of the generator, for the title.
    """

    served = False  # a server answers with results, not with pictures of them

    def __init__(self, table: CaseTable, generator: str = "") -> None:
        self.table, self.generator = table, str(generator)

    def __call__(self, data: dict) -> dict:
        if self.table.output_dir is not None and "case" in data:
            mark = mark_of_row(self.table, int(data["row"]), synthetic=False)
            png = picture(data, f"{data['case']}, {self.generator}")
            write_bytes(self.table.path(str(data["case"]), "fingerprint.png"), with_mark(png, mark))
        return data
