"""Videos a second beside diffusers' pipeline with the same network: python scripts/benchmark_videos.py --bundle NAME"""

import os
import platform
from pathlib import Path

import torch

from synthzoo.bundle.compose import load_config
from synthzoo.cli import run
from synthzoo.evaluation.video_benchmark import measure_videos
from synthzoo.io.files import write_json


def main(
    bundle: str = "echo_us_cine_synthesis_ldm",
    steps: int = 64,
    batch: int = 4,
    turns: int = 3,
    out: str | None = None,
    root: str = "bundles",
) -> None:
    """Seconds and frames a second, the medians over turns.

    Args:
        bundle: name of a bundle whose network is a `LatentVideo`.
        steps: of both DDIMs; the published number is 64.
        batch: videos made at once.
        turns: rounds that are timed.
        out: JSON file; by default docs/benchmark.json of the bundle.
        root: folder of the bundles.
    """
    folder = Path(root) / bundle
    config = load_config(folder)
    config["inferer"]["progress"] = False
    network, inferer = config.get_parsed_content("network"), config.get_parsed_content("inferer")
    found = measure_videos(network, inferer, steps, batch, turns)
    device = next(network.parameters()).device
    machine = f"{os.cpu_count()} cores ({platform.machine()}), {torch.get_num_threads()} threads, {device}"
    rows = [[name, row["seconds"], row["frames_per_second"]] for name, row in found["rows"].items()]
    title = f"Videos of {network.frames} frames, {batch} at once, DDIM in {steps} steps: {machine}"
    theirs, ours, shipped = (row["frames_per_second"] for row in found["rows"].values())
    figures = {"frames_per_second_diffusers": theirs, "frames_per_second_ddim": ours}
    figures |= {"frames_per_second": shipped, "difference_to_diffusers": round(found["difference"], 6)}
    settings = f"--bundle {bundle} --steps {steps} --batch {batch} --turns {turns}"
    report = {
        "command": f"python scripts/benchmark_videos.py {settings}",
        "tables": [{"title": title, "columns": ["sampler", "seconds a video", "frames a second"], "rows": rows}],
        "figures": figures,
    }
    for row in rows:
        print(*row, sep=" | ")
    print(figures)
    write_json(Path(out) if out else folder / "docs" / "benchmark.json", report)


if __name__ == "__main__":
    run(main)
