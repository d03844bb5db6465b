"""Report of one audit: its table, its figures, a plain sentence and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform

from synthzoo.evaluation.pictures import new_figure
from synthzoo.io.files import text_of
from synthzoo.systems.adversarial_fingerprint.audit import Bound, Tally
from synthzoo.systems.adversarial_fingerprint.bounds import FOUND, Count
from synthzoo.systems.adversarial_fingerprint.noise_levels import Curve

ABSENT = -1  # in place of what was not measured; batches hold no None
SHOWN = 6  # images of the curve in its picture


def report_of(
    image: torch.Tensor, curve: Curve | None, count: Tally, mistakes: Tally | None, bound: Bound | None, n_images: int
) -> dict[str, Any]:
    """Tensors and numbers of an audit, for a batch.

    Args:
        image: the marked private image (1, S, S).
        curve: None where samples alone were counted.
        count, mistakes: of samples of the generator, and of one without the private image.
        bound: None where there is none.
        n_images: N, 0 where it is not known.

    Returns:
        "pred" float32 (3, T), levels, hits and runs; "seen" float32 (2, T), positives of c_AF and of c_ID; "shown"
        float32 (n, S, S), the image, what comes out of `SHOWN` levels, and the nearest samples; "counts", integers by
        name.
    """
    grid = [0.0] if curve is None else curve.grid
    runs = 0 if curve is None else curve.runs
    hits = [ABSENT] if curve is None else curve.hits
    seen = np.full((2, 1), float(ABSENT)) if curve is None else curve.seen.sum(1).T
    places = np.linspace(0, len(grid) - 1, SHOWN).round().astype(int)
    made = image[0].expand(SHOWN, -1, -1) if curve is None else curve.shown[places, 0]
    counts = {
        "n_images": n_images,
        "samples": count.samples,
        "fingerprints": count.fingerprints,
        "identities": count.identities,
        "hits": count.hits,
        "false_hits": ABSENT if mistakes is None else mistakes.hits,
        "false_fingerprints": ABSENT if mistakes is None else mistakes.fingerprints,
        "false_identities": ABSENT if mistakes is None else mistakes.identities,
        "false_samples": ABSENT if mistakes is None else mistakes.samples,
        "own_hits": ABSENT if bound is None else bound.own[0],
        "own_runs": ABSENT if bound is None else bound.own[1],
        "other_hits": ABSENT if bound is None else bound.others[0],
        "other_runs": ABSENT if bound is None else bound.others[1],
    }
    return {
        "pred": torch.tensor([grid, hits, [runs] * len(grid)], dtype=torch.float32),
        "seen": torch.from_numpy(np.asarray(seen, np.float32)),
        "shown": torch.cat([image, made, count.nearest[:, 0]]),
        "distance": float(count.distances[0]),
        "t_any": float(ABSENT) if curve is None else curve.t_any,
        "t_all": float(ABSENT) if curve is None else curve.t_all,
        "bound": float(ABSENT) if bound is None else bound.q,
        "counts": counts,
    }


class ReportFingerprintd(Transform):
    """Add to a sample the table of its curve, the figures of its sidecar and one sentence.

    Added: table (columns t, hits, runs, fingerprint, identity), t_prime, t_prime_all, samples, false_positives, q
    (k / S with its one-sided 95 % bounds), q_upper_bound, memorisation_ratio, n_images, nearest_sample, verdict,
    sentence. What was not measured is None.

    Args:
        generator: name of the generator, for the sentence.
    """

    def __init__(self, generator: str = "the generator") -> None:
        self.generator = str(generator)

    def __call__(self, data: dict) -> dict:
        data = dict(data)
        grid, hits, runs = (row.tolist() for row in torch.as_tensor(data["pred"]).as_subclass(torch.Tensor).cpu())
        counts = {name: int(value) for name, value in data.pop("counts").items()}
        seen = torch.as_tensor(data["seen"]).as_subclass(torch.Tensor).cpu().tolist()
        measured = hits[0] >= 0
        mistakes = counts["false_samples"] > 0
        false = (counts["false_hits"], counts["false_samples"]) if mistakes else (0, 1)
        found = Count(counts["hits"], counts["samples"], *false)
        n_images = counts["n_images"] or None
        low, high = found.interval
        figures: dict[str, Any] = {
            "t_prime": round(float(data.pop("t_any")), 4) if measured else None,
            "t_prime_all": round(float(data.pop("t_all")), 4) if measured else None,
            "runs": int(runs[0]) or None,
            "n_images": n_images,
            "samples": {
                "counted": counts["samples"],
                "fingerprint": counts["fingerprints"],
                "identity": counts["identities"],
                "both": counts["hits"],
            },
            "false_positives": {
                "counted": counts["false_samples"],
                "fingerprint": counts["false_fingerprints"],
                "identity": counts["false_identities"],
                "both": counts["false_hits"],
            }
            if mistakes
            else None,
            "q": {
                "estimate": found.rate,
                "lower_95": low,
                "upper_95": high,
                "chance": found.chance if mistakes else None,
            },
            "q_upper_bound": _bound(counts, float(data.pop("bound"))),
            "memorisation_ratio": None if n_images is None else round(found.ratio(n_images), 4),
            "nearest_sample": {"rms_difference": round(float(data.pop("distance")), 4)},
            "verdict": found.verdict,
        }
        data |= figures
        data["sentence"] = sentence(figures, self.generator)
        table = {"t": grid, "hits": hits, "runs": runs, "fingerprint": seen[0], "identity": seen[1]}
        whole = {name: [int(value) for value in values] for name, values in table.items() if name != "t"}
        data["table"] = {"t": grid, **whole} if measured else {name: [] for name in table}
        return data


def _bound(counts: Mapping[str, int], value: float) -> dict[str, Any] | None:
    if counts["own_runs"] < 1:
        return None
    own = {"hits": counts["own_hits"], "runs": counts["own_runs"]}
    others = {"hits": counts["other_hits"], "runs": counts["other_runs"]}
    return {"q": value, "private_image": own, "other_images": others}


def sentence(figures: Mapping[str, Any], generator: str) -> str:
    """What an audit found, in plain words; it never calls a generator private."""
    samples, q = figures["samples"], figures["q"]
    told = (
        f"{samples['both']} of {samples['counted']} samples of {generator} show the private image with its fingerprint"
    )
    limit = f"so the probability of a sample is below {q['upper_95']:.2g} at 95 % confidence"
    if figures["verdict"] == FOUND:
        said = f"{told}: it is reproduced, with a probability of {q['estimate']:.2g} (at least {q['lower_95']:.2g})"
    else:
        said = f"{told}, which is {figures['verdict']}, {limit}; that is no proof of privacy"
    if figures["memorisation_ratio"] is not None:
        said += f"; the memorisation ratio is {figures['memorisation_ratio']:.2g} (1 is a perfect memoriser)"
    if figures["t_prime"] is not None:
        said += f"; noise up to level {figures['t_prime']:.2f} of 1 falls back onto it"
    return f"{said}."


def picture(data: Mapping[str, Any], title: str) -> bytes:
    """PNG: the hits curve on its grid, above it the private image, what denoising makes of it, and nearest samples."""
    grid, hits, runs = (row.tolist() for row in torch.as_tensor(data["pred"]).as_subclass(torch.Tensor).cpu())
    seen = torch.as_tensor(data["seen"]).as_subclass(torch.Tensor).cpu().tolist()
    shown = torch.as_tensor(data["shown"]).as_subclass(torch.Tensor).float().cpu().numpy()
    figure = new_figure(10.5, 5.2)
    cells = figure.add_gridspec(2, len(shown), height_ratios=(1, 1.7))
    measured = hits[0] >= 0
    places = np.linspace(0, len(grid) - 1, SHOWN).round().astype(int)
    names = ["private image"] + [f"from t = {grid[place]:.2f}" if measured else "" for place in places]
    names += [f"sample {n + 1}" for n in range(len(shown) - len(names))]
    for column, (image, name) in enumerate(zip(shown, names)):
        if not name:
            continue
        axes = figure.add_subplot(cells[0, column])
        axes.imshow(image, cmap="gray", vmin=0, vmax=1)
        axes.set_title(name, fontsize=7)
        axes.axis("off")
    axes = figure.add_subplot(cells[1, :])
    if measured:
        axes.plot(grid, seen[0], color="#bbbbbb", linestyle=":", label="fingerprint (c_AF)")
        axes.plot(grid, seen[1], color="#ccbb44", linestyle="--", label="identity (c_ID)")
        axes.step(grid, hits, where="mid", color="#cc3311", label="hits: both")
        reached = float(data["t_prime"] if "t_prime" in data else data["t_any"])
        axes.axvline(reached, color="black", linewidth=0.8, label=f"t' = {reached:.2f}")
        axes.legend(fontsize=7, loc="lower left")
        axes.set(xlim=(0, 1), ylim=(-0.3, runs[0] + 0.6))
    axes.set(xlabel="noise level t from which the private image is denoised", ylabel=f"hits of {int(runs[0])} runs")
    axes.set_title(text_of(title), fontsize=9)
    figure.tight_layout()
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    return buffer.getvalue()
