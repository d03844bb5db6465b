"""Our sampling beside others with the same weights: python scripts/benchmark.py sampling --bundle <name>"""

import os
import platform
from pathlib import Path

import fire
import numpy as np
import torch

from synthzoo.bundle.compose import load_config
from synthzoo.data.brain_phantom import BrainPhantomDataset
from synthzoo.data.files import write_json
from synthzoo.errors import UserError
from synthzoo.inferers.benchmark import generate, matmul_rate, measure_quality, measure_samplers, print_table
from synthzoo.inferers.rivals import GenerativeSampler, MonaiSampler


def sampling(
    bundle: str = "brain_mr_synthesis_ldm",
    turns: int = 5,
    batch: int = 4,
    quality: int = 0,
    steps: int | None = None,
    rival_steps: int = 50,
    seed: int = 0,
    out: str | None = None,
    root: str = "bundles",
) -> None:
    """Seconds, calls, memory and arithmetic per volume of our inference, monai-generative's and MONAI's, taking turns.

    Args:
        bundle: name of a bundle whose network is a `LatentDiffusion`.
        turns: rounds that are timed; the median counts.
        batch: volumes made at once.
        quality: volumes per sampler of which ventricles and FID are measured; 0 leaves this out.
        steps: ours; by default those of the bundle's inference.json.
        rival_steps: of the rivals' DDIM.
        seed: of noise and requests.
        out: JSON file; by default docs/benchmark.json of the bundle.
        root: folder of the bundles.
    """
    folder = Path(root) / bundle
    config = load_config(folder, (), {} if steps is None else {"steps": steps})
    config["inferer"]["progress"] = False
    network, ours = config.get_parsed_content("network"), config.get_parsed_content("inferer")
    samplers = {"ours": (ours, network)}
    plain = MonaiSampler(network, rival_steps)
    samplers[plain.name] = (plain, plain.network)
    try:
        old = GenerativeSampler(network, rival_steps, config["network_def"])
        samplers[old.name] = (old, old.network)
    except UserError as error:
        print(f"left out: {error}")
    device, count = next(network.parameters()).device, max(batch, quality)
    bounds = network.conditions
    asked = np.random.default_rng([seed, 41]).uniform(bounds.low.cpu(), bounds.high.cpu(), (count, len(bounds)))
    asked[:, 1] = asked[:, 1].round()
    conditions = torch.tensor(asked, dtype=torch.float32, device=device)
    noise = torch.randn(count, *network.latent_shape, generator=torch.Generator().manual_seed(seed)).to(device)
    rows = measure_samplers(samplers, noise[:batch], conditions[:batch], turns)
    if quality:
        true = BrainPhantomDataset(quality, split="test", requests=asked)
        true = np.stack([true.image(row).astype(np.float32) for row in range(quality)])
        for name, (sampler, own) in samplers.items():
            images = generate(sampler, own, noise[:quality], conditions[:quality], batch)
            rows[name] |= measure_quality(images, asked, true)
    print_table(rows)
    for name in list(rows)[1:]:
        print(
            f"ours is {rows[name]['seconds_per_volume'] / rows['ours']['seconds_per_volume']:.2f} x as fast as {name}"
        )
    report = {
        "command": f"python scripts/benchmark.py sampling --bundle {bundle} --turns {turns} --batch {batch} "
        f"--quality {quality} --rival_steps {rival_steps} --seed {seed}",
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "device": str(device),
        "torch": torch.__version__,
        "matmul_gflops_after": round(matmul_rate(device) / 1e9, 1),
        "settings": {name: config[name] for name in ("sampler", "steps", "guidance")},
        "samplers": rows,
    }
    write_json(Path(out) if out else folder / "docs" / "benchmark.json", report)


if __name__ == "__main__":
    fire.Fire({"sampling": sampling})
