"""Does the brain generator do what it is asked, as variously as the phantom, and without copying?

Requests are uniform on the conditions' ranges. Each is given to the generator and, as the ceiling, to the phantom
itself (test seeds); the same instruments measure both. Controls stand beside: shuffled requests, real against real,
held-out images against the training set.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from synthzoo.data.brain_phantom import BrainPhantomDataset
from synthzoo.data.files import write_bytes, write_json
from synthzoo.data.preview import montage
from synthzoo.inferers.synthesis import SynthesisInferer
from synthzoo.metrics.brain_age import measure_ages
from synthzoo.metrics.brain_segmentation import features
from synthzoo.metrics.brain_volumes import measure_brains
from synthzoo.metrics.conditioning import agreement, conditioning
from synthzoo.metrics.fidelity import fid_with_floor, pairwise_ms_ssim
from synthzoo.metrics.memorisation import memorisation

UNITS = {"ventricle_ml": "mL", "brain_ml": "mL", "age": "years"}


def uniform_requests(conditions: dict[str, dict], size: int, seed: int) -> np.ndarray:
    """(size, K) requests in user units, uniform on each condition's range or choices."""
    rng = np.random.default_rng([seed, 41])
    columns = []
    for rule in conditions.values():
        if "choices" in rule:
            columns.append(rng.integers(0, len(rule["choices"]), size).astype(float))
        else:
            columns.append(rng.uniform(*rule["range"], size))
    return np.stack(columns, 1).astype(np.float32)


class BrainSynthesisEvaluation:
    """Measures a brain generator and writes `metrics.json` and two pictures.

    Args:
        network: the trained composite.
        inferer: the sampler with the bundle's defaults.
        conditions: name -> {"range"} or {"choices"}, in the order of the network.
        size: requests of the main figures.
        sweep_size: requests of each row of the tables over steps and guidance; 0 leaves these tables out.
        steps: numbers of network calls in the table over steps.
        guidance: weights in the table over guidance.
        train_size: subjects of the training set, for the nearest neighbours.
        training: further arguments of `BrainPhantomDataset` as in training.
        batch_size: images generated at once.
        spacing_mm: of the generated volumes.
        seed: of requests and noise.
        weights: the file that is evaluated; its SHA-256 goes into the metrics.
        metrics_path: where metrics.json goes; `preview.png` and `asked_measured.png` lie beside it.
        command: the command that a reader types to get these numbers.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        inferer: SynthesisInferer,
        conditions: dict[str, dict],
        size: int = 200,
        sweep_size: int = 32,
        steps: Sequence[int] = (5, 8, 10, 15, 20, 30, 50),
        guidance: Sequence[float] = (1.0, 1.5, 2.0, 3.0),
        train_size: int = 900,
        training: dict | None = None,
        batch_size: int = 8,
        spacing_mm: float = 4.0,
        seed: int = 0,
        weights: str | Path | None = None,
        metrics_path: str | Path = "metrics.json",
        command: str = "",
    ) -> None:
        self.network, self.inferer, self.conditions = network, inferer, dict(conditions)
        self.size, self.sweep_size, self.steps, self.guidance = size, sweep_size, list(steps), list(guidance)
        self.train_size, self.training, self.batch_size = train_size, dict(training or {}), batch_size
        self.spacing_mm, self.seed, self.weights = spacing_mm, seed, weights
        self.metrics_path, self.command = Path(metrics_path), command
        self.device = next(network.parameters()).device
        self.names = list(self.conditions)
        self.tables: list[dict] = []
        self.figures: dict[str, Any] = {}

    # --- making the sets ---------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def generate(self, requests: np.ndarray, inferer: SynthesisInferer | None = None, first_seed: int = 0):
        """Volumes float32 (N, D, H, W) for requests (N, K); sample k starts from the noise of seed `first_seed` + k."""
        self.network.eval()
        volumes = []
        for first in tqdm(range(0, len(requests), self.batch_size), desc="generate", leave=False):
            part = torch.as_tensor(requests[first : first + self.batch_size], dtype=torch.float32)
            generators = [torch.Generator().manual_seed(first_seed + first + k) for k in range(len(part))]
            noise = torch.stack([torch.randn(self.network.latent_shape, generator=g) for g in generators])
            volumes.append(
                (inferer or self.inferer)(noise.to(self.device), self.network, part.to(self.device))[:, 0].cpu().numpy()
            )
        return np.concatenate(volumes)

    def phantoms(self, requests: np.ndarray | None, size: int, split: str, first: int = 0) -> np.ndarray:
        """Phantoms float32 (N, D, H, W); `requests` None takes the law of the training set."""
        options = {**self.training, "split": split, "first": first, "requests": requests}
        rows = BrainPhantomDataset(size, self.spacing_mm, conditions=self.names, **options)
        found = [rows.image(k) for k in tqdm(range(size), desc=f"{split} phantoms", leave=False)]
        return np.stack(found).astype(np.float32)

    def measure(self, volumes: np.ndarray) -> dict[str, np.ndarray]:
        """ventricle_ml, brain_ml and age of volumes (N, D, H, W), each (N,)."""
        found = measure_brains(volumes, self.spacing_mm)
        return {name: found[name] for name in ("ventricle_ml", "brain_ml")} | {
            "age": measure_ages(volumes, self.spacing_mm)
        }

    # --- the figures -------------------------------------------------------------------------------------------------

    def run(self) -> dict:
        """Measure all, write the files, print the tables' titles and the figures; returns the metrics."""
        requests = uniform_requests(self.conditions, self.size, self.seed)
        began = time.perf_counter()
        generated = self.generate(requests)
        seconds = (time.perf_counter() - began) / self.size
        real = self.phantoms(requests, self.size, "test")
        other = self.phantoms(uniform_requests(self.conditions, self.size, self.seed + 1), self.size, "test", self.size)
        training = self.phantoms(None, self.train_size, "train")

        measured, ceiling = self.measure(generated), self.measure(real)
        self.tell_conditioning(requests, measured, ceiling)
        self.tell_fidelity(generated, real, other)
        self.tell_memorisation(generated, training, real)
        self.tell_autoencoder(other)
        self.tell_left_out(requests)
        self.figures["seconds_per_sample"] = round(seconds, 3)
        self.tell_gates()
        if self.sweep_size:
            self.tell_sweeps(requests[: self.sweep_size], real)
        metrics = {
            "command": self.command,
            "setting": {
                "requests": self.size,
                "seed": self.seed,
                "sampler": self.inferer.sampler_name,
                "steps": self.inferer.steps,
                "guidance": self.inferer.guidance,
                "device": f"{self.device.type}, {torch.get_num_threads()} threads",
                "weights_sha256": hashlib.sha256(Path(self.weights).read_bytes()).hexdigest() if self.weights else None,
            },
            "tables": self.tables,
            "figures": self.figures,
        }
        write_json(self.metrics_path, metrics)
        self.draw(requests, generated, real, measured, ceiling)
        for name, value in self.figures.items():
            print(f"{name}: {value}")
        print(f"wrote {self.metrics_path}")
        return metrics

    def tell_conditioning(self, requests, measured, ceiling) -> None:
        """Asked against measured, with the phantom's ceiling and the shuffled control."""
        rows = []
        for name, unit in UNITS.items():
            if name not in self.names:
                continue
            asked = requests[:, self.names.index(name)]
            own, top = conditioning(asked, measured[name], self.seed), agreement(asked, ceiling[name])
            rows.append([f"{name} ({unit})", "model", own["r"], own["slope"], own["mae"], own["bias"]])
            rows.append(
                [f"{name} ({unit})", "phantom of the same requests", *(top[k] for k in ("r", "slope", "mae", "bias"))]
            )
            control = own["shuffled"]
            rows.append([f"{name} ({unit})", "shuffled requests", control["r"], control["slope"], control["mae"], None])
            self.figures |= {f"{name}_r": own["r"], f"{name}_slope": own["slope"], f"{name}_r_phantom": top["r"]}
            self.figures[f"{name}_r_shuffled"] = control["r"]
        self.add_table(
            f"Asked against measured, {self.size} requests uniform in the conditions",
            ["condition", "images", "r", "slope", "mean absolute error", "bias"],
            rows,
        )

    def tell_fidelity(self, generated, real, other) -> None:
        """FID and pairwise MS-SSIM beside those of real sets."""
        distance = fid_with_floor(features(generated), features(real), features(other))
        pairs = min(100, self.size * (self.size - 1) // 2)
        own, true = pairwise_ms_ssim(generated, pairs, self.seed), pairwise_ms_ssim(real, pairs, self.seed)
        self.figures |= {"fid": distance["fid"], "fid_real": distance["fid_real"]}
        self.figures |= {"ms_ssim": own["mean"], "ms_ssim_real": true["mean"]}
        self.figures["ms_ssim_difference"] = round(abs(own["mean"] - true["mean"]), 4)
        self.add_table(
            f"Fidelity and variety ({distance['n']} volumes a set, {pairs} pairs; FID on the 96 features of the brain "
            "segmentation network)",
            ["images", "FID to phantoms", "pairwise MS-SSIM", "its standard deviation"],
            [
                ["model", distance["fid"], own["mean"], own["std"]],
                ["phantoms", distance["fid_real"], true["mean"], true["std"]],
            ],
        )

    def tell_memorisation(self, generated, training, held_out) -> None:
        """Nearest training neighbours of generated and of held-out volumes."""
        found = memorisation(generated, training, held_out)
        self.figures |= {"nearest_ratio": found["ratio_of_medians"], "suspicious_samples": found["suspicious"]}
        self.figures["memorisation"] = found["verdict"]
        self.add_table(
            f"Distance to the nearest of {len(training)} training volumes (RMS of standardised volumes)",
            ["images", "median", "smallest"],
            [
                ["model", found["generated_median"], found["generated_min"]],
                ["held-out phantoms", found["held_out_median"], found["held_out_min"]],
            ],
        )

    @torch.inference_mode()
    def tell_autoencoder(self, real: np.ndarray) -> None:
        """What the autoencoder alone loses, on held-out phantoms."""
        real = real[:100]
        parts = torch.from_numpy(real)[:, None].split(self.batch_size)
        restored = [self.network.decode(self.network.encode(part.to(self.device))).cpu() for part in parts]
        restored = torch.cat(restored)[:, 0].clamp(0, 1).numpy()
        error = float(np.abs(restored - real)[real > 0.02].mean())
        before, after = self.measure(real), self.measure(restored)
        r = {name: agreement(before[name], after[name])["r"] for name in UNITS}
        self.figures |= {"autoencoder_mae": round(error, 4), "autoencoder_ventricle_r": r["ventricle_ml"]}
        self.add_table(
            f"The autoencoder alone, {len(real)} held-out phantoms: r between original and reconstruction",
            ["mean absolute error in the brain", "ventricle_ml", "brain_ml", "age"],
            [[round(error, 4), r["ventricle_ml"], r["brain_ml"], r["age"]]],
        )

    def tell_left_out(self, requests: np.ndarray) -> None:
        """Spread of what is measured when a condition is given, and when all are left out."""
        count = min(24, self.size)
        middle = np.tile(np.nanmean(requests, 0), (count, 1))
        if "sex" in self.names:
            middle[:, self.names.index("sex")] = 0
        given = self.measure(self.generate(middle, first_seed=10_000))
        free = self.measure(self.generate(np.full_like(middle, np.nan), first_seed=10_000))
        rows = [
            [f"{name} ({unit})", round(float(given[name].std()), 2), round(float(free[name].std()), 2)]
            for name, unit in UNITS.items()
        ]
        self.figures["ventricle_ml_spread_ratio"] = round(
            float(free["ventricle_ml"].std() / given["ventricle_ml"].std()), 2
        )
        self.add_table(
            f"Standard deviation over {count} seeds", ["measured", "all conditions asked for", "all left out"], rows
        )

    def tell_gates(self) -> None:
        """What was aimed at and what was reached."""
        f = self.figures
        gates = [
            ["ventricle r", ">= 0.95", f["ventricle_ml_r"], f["ventricle_ml_r"] >= 0.95],
            ["ventricle slope", "0.9 to 1.1", f["ventricle_ml_slope"], 0.9 <= f["ventricle_ml_slope"] <= 1.1],
            ["brain volume r", ">= 0.9", f["brain_ml_r"], f["brain_ml_r"] >= 0.9],
            ["age r", ">= 0.7", f["age_r"], f["age_r"] >= 0.7],
            ["MS-SSIM, distance to real pairs", "<= 0.05", f["ms_ssim_difference"], f["ms_ssim_difference"] <= 0.05],
            ["copies of training images", "none", f["memorisation"], f["memorisation"] != "copies"],
        ]
        self.tables.insert(0, {"title": "Aims", "columns": ["figure", "aim", "reached", "met"], "rows": gates})
        f["aims_met"] = f"{sum(bool(gate[3]) for gate in gates)} of {len(gates)}"

    def tell_sweeps(self, requests: np.ndarray, real: np.ndarray) -> None:
        """Quality against network calls for both samplers, and against the guidance weight."""
        true = features(real)
        settings = [(sampler, steps, 1.0) for sampler in ("ddim", "dpm_solver") for steps in self.steps]
        rows = [self.sweep_row(requests, true, *setting) for setting in settings]
        columns = [
            "sampler",
            "steps",
            "guidance",
            "FID",
            "ventricle r",
            "ventricle slope",
            "age r",
            "seconds per volume",
        ]
        self.add_table(f"Quality against steps, {len(requests)} requests", columns, rows)
        rows = [
            self.sweep_row(requests, true, self.inferer.sampler_name, self.inferer.steps, weight)
            for weight in self.guidance
        ]
        self.add_table(f"Quality against guidance, {len(requests)} requests", columns, rows)

    def sweep_row(self, requests, true, sampler: str, steps: int, guidance: float) -> list:
        """One row of the tables over samplers."""
        began = time.perf_counter()
        volumes = self.generate(requests, SynthesisInferer(sampler, steps, guidance, seed=self.seed))
        seconds = (time.perf_counter() - began) / len(requests)
        measured = self.measure(volumes)
        distance = fid_with_floor(features(volumes), true, true)["fid"]
        ventricle = agreement(requests[:, self.names.index("ventricle_ml")], measured["ventricle_ml"])
        age = agreement(requests[:, self.names.index("age")], measured["age"])
        return [sampler, steps, guidance, distance, ventricle["r"], ventricle["slope"], age["r"], round(seconds, 3)]

    def add_table(self, title: str, columns: list, rows: list) -> None:
        self.tables.append({"title": title, "columns": columns, "rows": rows})

    # --- pictures ----------------------------------------------------------------------------------------------------

    def draw(self, requests, generated, real, measured, ceiling) -> None:
        """`preview.png`: phantoms beside generated ones of the same requests; `asked_measured.png`: scatter plots."""
        shown = range(min(4, self.size))
        titles, volumes = [], []
        for k in shown:
            asked = ", ".join(f"{name} {requests[k, i]:.0f}" for i, name in enumerate(self.names) if name != "sex")
            found = f"measured ventricle {measured['ventricle_ml'][k]:.0f}, brain {measured['brain_ml'][k]:.0f}"
            titles += [f"phantom: {asked}", f"generated; {found}, age {measured['age'][k]:.0f}"]
            volumes += [real[k], generated[k]]
        montage(volumes, titles, self.metrics_path.with_name("preview.png"), columns=2)

        from io import BytesIO

        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(12, 4))
        FigureCanvasAgg(figure)
        for axis, (name, unit) in zip(figure.subplots(1, len(UNITS)), UNITS.items()):
            asked = requests[:, self.names.index(name)]
            axis.plot(asked, ceiling[name], ".", color="0.7", label="phantom")
            axis.plot(asked, measured[name], ".", color="tab:blue", label=f"model, r = {self.figures[f'{name}_r']:.3f}")
            axis.plot([asked.min(), asked.max()], [asked.min(), asked.max()], "k-", linewidth=0.8)
            axis.set(xlabel=f"asked {name} ({unit})", ylabel="measured")
            axis.legend()
        figure.tight_layout()
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=80, metadata={"Software": None})
        write_bytes(self.metrics_path.with_name("asked_measured.png"), buffer.getvalue())
