"""A shareable stand-in for a data set of echo videos, in EchoNet's layout (EchoNet-Synthetic, arXiv 2406.00808).

    FileList.csv, Videos/<name>.avi   what readers of EchoNet-Dynamic expect; EF is what was requested
    privacy_scores.csv                of each video: the score of its reference, the threshold, nearest training
    patient,
                                      how many references were sampled and the scores of those rejected
    requests.json                     from which every video follows
    datasheet.md                      what the set is, how it was made and how well its labels hold

Video n depends on (seed, n) alone, so a run may be killed, started again, extended, and shared by several processes.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from synthzoo.cases.table import process_rank
from synthzoo.datasets.echo.echonet import read_echonet
from synthzoo.datasets.echo.echonet_table import FILE_LIST, VIDEOS
from synthzoo.errors import UserError
from synthzoo.instruments.echo.ef import measure_ef
from synthzoo.io.files import sha256, write_text
from synthzoo.io.marks import Mark, stated
from synthzoo.io.videos import read_video
from synthzoo.metrics.agreement import reported
from synthzoo.results.echonet import EchoNetWriter, hashed_name
from synthzoo.systems.echonet_synthetic.inferer import LatentVideoInferer

SCORES, REQUESTS, DATASHEET = "privacy_scores.csv", "requests.json", "datasheet.md"
SHARES = {"train": 0.75, "validation": 0.125, "test": 0.125}  # of EchoNet-Dynamic, about
MEASURED_AT_MOST = 256  # videos whose EF the datasheet measures


class SurrogateDataset:
    """Fills a folder with videos around references that passed the filter, and describes the set.

    Args:
        network: a trained and calibrated `LatentVideo`.
        inferer: the bundle's.
        output_dir: the folder; what is complete in it is kept.
        count: number of videos.
        seed: of references, motion, EFs and splits.
        ef: EF in percent: one number for all, or the ends of a range in which it is drawn evenly.
        ef_like: folder in EchoNet's layout; EFs are then drawn from those of its TRAIN rows, as the authors advise,
            cut to what the network knows.
        frames: of a video.
        batch_size: videos at once.
        bundle, weights: named in the datasheet.
        measure: read the EF of the finished videos by both instruments for the datasheet.

    Raises:
        UserError: no videos requested, EFs out of range, a folder begun with other settings, an inferer without filter.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        inferer: LatentVideoInferer,
        output_dir: str | Path,
        count: int = 200,
        seed: int = 0,
        ef: float | Sequence[float] = (10.0, 85.0),
        ef_like: str | Path = "",
        frames: int = 16,
        batch_size: int = 8,
        bundle: str = "",
        weights: str | Path = "",
        measure: bool = True,
    ) -> None:
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise UserError(f"num_samples = {count!r}: a data set takes an integer of at least 1.")
        if not inferer.filter:
            raise UserError("filter is false: a surrogate is filtered; set it to true, or run inference.json alone.")
        self.network, self.inferer, self.folder = network.eval(), inferer, Path(output_dir)
        self.count, self.seed, self.frames, self.batch_size = count, int(seed), int(frames), max(1, int(batch_size))
        least, most = (float(getattr(network.video.conditions, end)[0]) for end in ("low", "high"))
        self.efs = known_efs(ef_like).clip(least, most) if ef_like else None
        self.ef = _ends(ef, least, most)
        self.bundle, self.weights, self.measure = bundle, Path(weights) if weights else None, measure

    def run(self) -> Path:
        """Make what is missing; the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        rank, world = process_rank()
        self._agree()
        rows = list(range(rank, self.count, world))
        with EchoNetWriter(self.folder, extra_table=SCORES) as writer:
            rows = [row for row in rows if self.name(row) not in writer]
            for first in tqdm(range(0, len(rows), self.batch_size), desc="videos", unit="batch"):
                self._make(rows[first : first + self.batch_size], writer)
            done = [self.name(row) in writer for row in range(self.count)]
        if rank == 0 and all(done):
            write_text(self.folder / DATASHEET, filled(self.datasheet()))
        return self.folder

    def name(self, row: int) -> str:
        """The file's name of a video."""
        return hashed_name(f"{self.bundle}:{self.seed}:{row}")

    def request(self, row: int) -> dict[str, Any]:
        """EF in percent, split and seed of the noise of a video."""
        rng = np.random.default_rng([self.seed, row])
        ef = rng.choice(self.efs) if self.efs is not None else rng.uniform(*self.ef)
        split = rng.choice(list(SHARES), p=list(SHARES.values()))
        return {"ef": round(float(ef), 2), "split": str(split), "noise": int(rng.integers(2**62))}

    def _make(self, rows: list[int], writer: EchoNetWriter) -> None:
        requested = [self.request(row) for row in rows]
        shape = self.network.latent_shape
        shape = (shape[0], 1 + self.frames, *shape[1:])
        noise = [torch.randn(shape, generator=torch.Generator().manual_seed(one["noise"])) for one in requested]
        device = next(self.network.parameters()).device
        noise = torch.stack(noise).to(device)
        with torch.inference_mode():
            references = self.inferer.sample_references(noise[:, :, 0], self.network)
            conditions = torch.tensor([[one["ef"]] for one in requested], device=device)
            videos = self.inferer.generate_video(references.latents, noise[:, :, 1:], conditions, self.network).cpu()
        threshold = round(float(self.network.threshold), 4)
        for n, (row, one) in enumerate(zip(rows, requested)):
            rejected = references.rejected[n]
            extra = {
                "Score": round(references.scores[n], 4),
                "Threshold": threshold,
                "NearestPatient": references.nearest[n],
                "NAttempts": 1 + len(rejected),
                "RejectedScores": " ".join(f"{score:.4f}" for score in rejected) or "none",
            }
            made = {"bundle": self.bundle, "seed": self.seed, "row": row, "requested": {"ef": one["ef"]}}
            mark = Mark(True, {**stated(True, self.bundle, None), **made})
            writer.add(self.name(row), videos[n], self.network.fps, one["ef"], one["split"], extra=extra, mark=mark)

    def _agree(self) -> None:
        """Refuse a folder whose videos come from other settings."""
        inferer = self.inferer
        said = {"bundle": self.bundle, "weights": self._checksum(), "seed": self.seed, "frames": self.frames}
        said |= {"ef": list(self.ef) if self.efs is None else sorted(set(self.efs.tolist()))}
        said |= {key: getattr(inferer, key) for key in ("sampler_name", "steps", "guidance", "eta", "overlap", "fade")}
        path = self.folder / REQUESTS
        text = json.dumps(said, indent=2) + "\n"
        if path.is_file():
            if path.read_text(encoding="utf-8") == text:
                return
            known = json.loads(path.read_text(encoding="utf-8"))
            key = next(key for key in said if known.get(key) != said[key])
            raise UserError(
                f"{path}: this folder was begun with {key} = {known.get(key)}, not {said[key]}: choose another "
                "output_dir, or give the settings of before."
            )
        if (self.folder / FILE_LIST).exists():
            raise UserError(f"{self.folder} holds another data set: choose an empty output_dir.")
        write_text(path, text)

    def _checksum(self) -> str:
        if self.weights is None or not self.weights.is_file():
            return ""
        return sha256(self.weights)

    # --- the datasheet -----------------------------------------------------------------------------------------------

    def datasheet(self) -> str:
        """The text of datasheet.md, of the videos that are there (after Gebru et al., Datasheets for Datasets,
        2021)."""
        rows = read_echonet(self.folder)
        with EchoNetWriter(self.folder, extra_table=SCORES) as writer:
            extras = [writer.rows[row["name"]]["extra"] for row in rows]
        efs = np.array([row["ef"] for row in rows])
        splits = {split: sum(row["split"] == split for row in rows) for split in SHARES}
        drawn = sum(int(extra["NAttempts"]) for extra in extras)
        scores = np.array([float(extra["Score"]) for extra in extras])
        low, middle, high = np.percentile(efs, [0, 50, 100])
        prior = f"evenly in {self.ef[0]:g} to {self.ef[1]:g} percent"
        prior = prior if self.efs is None else f"from {len(self.efs)} EFs of a known set"
        network, inferer = self.network, self.inferer
        refused = drawn - len(rows)
        return f"""# Datasheet

**What it is.** {len(rows)} synthetic videos of the heart in apical four-chamber view, made by `{self.bundle}`
(weights {self._checksum()[:12] or "unnamed"}), seed {self.seed}. No video shows a person. It stands for the videos on
which that model was trained where those cannot be shared. Research only; not for diagnosis.

**Composition.** {splits["train"]} TRAIN, {splits["validation"]} VAL and {splits["test"]} TEST videos of {self.frames}
frames at {network.fps:g} a second, grey in three equal channels, Motion JPEG. `{FILE_LIST}` has the columns of
EchoNet-Dynamic; ESV and EDV are empty, since the model knows no millilitres. EF was drawn {prior}: {low:.1f} to
{high:.1f} percent, median {middle:.1f}. Each video is a patient of its own.

**Labels.** EF is what was requested of the model, not what was measured. {self._labels(rows)}

**How it was made.** A latent diffusion model sampled a reference latent; a re-identification network compared it with
{int((network.gallery_patient >= 0).sum())} frames of the training videos; a second diffusion model moved it
({inferer.sampler_name}, {inferer.steps} steps, guidance {inferer.guidance:g}, eta {inferer.eta:g}); an autoencoder
decoded it. `{REQUESTS}` holds all that a video depends on besides its number.

**Privacy.** A reference whose score against its nearest training patient lay above {float(network.threshold):.4f} was
sampled again. Above that threshold 5 percent of unseen patients would fall, so that what passed is no nearer to a
training patient than unseen patients are, as far as this network can tell: {drawn} references were sampled, {refused}
({100 * refused / drawn:.1f} percent) were rejected, and the scores of those kept run to {scores.max():.4f}.
`{SCORES}` lists them. A filter is no proof of anonymity: it judges single frames by one network.

**Uses.** Training and testing software, and training models before they meet real videos. Not for conclusions on
populations: how often an anatomy or an EF occurs here follows from the model and the table, not from a population.

**Biases.** Whatever the training videos lack, these lack too; fine texture is smoother than in real videos.

**Upkeep.** Running the same command again checks and completes the set; another seed makes another one.
"""

    def _labels(self, rows: list[dict]) -> str:
        if not self.measure or len(rows) < 3:
            return "It was not measured again."
        chosen = rows[:MEASURED_AT_MOST]
        videos = np.stack([read_video(self.folder / VIDEOS / f"{row['name']}.avi").frames for row in chosen])
        found = measure_ef(torch.from_numpy(videos.astype(np.float32) / 255))
        requested = np.array([row["ef"] for row in chosen])
        said = []
        for name in ("regressor", "discs"):
            got = reported(requested, 100 * found[name])
            said.append(f"by {name} mean error {got['mae']:.1f} points, R2 {got['r2']:.2f}")
        return f"Measured on {len(chosen)} videos by two instruments that no training knew: {'; '.join(said)}."


def filled(text: str, width: int = 120) -> str:
    """Paragraphs of Markdown broken at the width."""
    return "\n\n".join(textwrap.fill(part, width) for part in text.strip().split("\n\n")) + "\n"


def known_efs(folder: str | Path) -> np.ndarray:
    """EFs in percent of the TRAIN rows of a data set in EchoNet's layout.

    Raises:
        UserError: what the reader says.
    """
    return np.array([row["ef"] for row in read_echonet(folder, "train", trust="videos", leave_out=True)])


def _ends(ef: Any, least: float, most: float) -> tuple[float, float]:
    """A number or a pair as the ends of a range of EFs in percent."""
    ends = list(ef) if isinstance(ef, (list, tuple)) else [ef, ef]
    good = len(ends) == 2 and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in ends)
    if not good or not least <= ends[0] <= ends[1] <= most:
        raise UserError(f"ef_range = {ef!r}: give two numbers in percent, low and high, from {least:g} to {most:g}.")
    return float(ends[0]), float(ends[1])
