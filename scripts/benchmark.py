"""What a bundle costs: its sampling beside others' with the same weights, and the published scale.

python scripts/benchmark.py sampling --bundle brain_mr_synthesis_ldm --quality 64
python scripts/benchmark.py labels --bundle brain_mr_synthesis_spade
python scripts/benchmark.py tokens --bundle brain_mr_synthesis_autoregressive
python scripts/benchmark.py paper --stage diffusion
"""

from pathlib import Path

from synthzoo.bundle.compose import load_config
from synthzoo.bundle.find import read_json
from synthzoo.cli import run
from synthzoo.evaluation.benchmark import print_table
from synthzoo.evaluation.label_benchmark import benchmark_labels
from synthzoo.evaluation.paper_scale import measure_paper, paper_report
from synthzoo.evaluation.sampling_benchmark import benchmark_sampling
from synthzoo.evaluation.token_benchmark import benchmark_tokens
from synthzoo.io.files import write_json


def sampling(
    bundle: str = "brain_mr_synthesis_ldm",
    turns: int = 5,
    batch: int = 4,
    quality: int = 0,
    steps: int | None = None,
    baseline_steps: int = 50,
    seed: int = 0,
    out: str | None = None,
    root: str = "bundles",
) -> None:
    """Seconds, calls, memory and arithmetic per volume of our inference, monai-generative's and MONAI's, taking turns.

    Args:
        bundle: name of a bundle whose network is a `LatentDiffusion`.
        turns: rounds that are timed; the median counts.
        batch: volumes made at once.
        quality: volumes per sampler whose agreement and FID are measured; 0 leaves this out.
        steps: ours; by default those of the bundle's inference.json.
        baseline_steps: of the baselines' DDIM.
        seed: of noise and requests.
        out: JSON file; by default docs/benchmark.json of the bundle.
        root: folder of the bundles.
    """
    folder = Path(root) / bundle
    config = load_config(folder, (), {} if steps is None else {"steps": steps})
    config["inferer"]["progress"] = False
    command = f"python scripts/benchmark.py sampling --bundle {bundle} --turns {turns} --batch {batch} "
    command += f"--quality {quality} --baseline_steps {baseline_steps} --seed {seed}"
    evaluate = folder / "configs" / "evaluate.json"
    known = evaluate.is_file() and "subjects" in read_json(evaluate).get("evaluation", {})
    subjects = load_config(folder, ["evaluate"]).get_parsed_content("evaluation#subjects") if known else None
    report = benchmark_sampling(config, command, turns, batch, quality, baseline_steps, seed, subjects)
    print_table(report["samplers"])
    print(report["figures"])
    write_json(Path(out) if out else folder / "docs" / "benchmark.json", report)


def labels(
    bundle: str = "brain_mr_synthesis_spade",
    turns: int = 5,
    batch: int = 16,
    seed: int = 0,
    out: str | None = None,
    root: str = "bundles",
) -> None:
    """Seconds of sampling and of painting label maps, ours and MONAI's, taking turns.

    Args:
        bundle: name of a bundle whose network is a `LabelToImage`.
        turns: rounds that are timed; the median counts.
        batch, seed: label maps at once, and the seed of their noise and requests.
        out: JSON file; by default docs/benchmark.json of the bundle.
        root: folder of the bundles.
    """
    folder = Path(root) / bundle
    parts = (load_config(folder).get_parsed_content(name) for name in ("network", "inferer"))
    command = f"python scripts/benchmark.py labels --bundle {bundle} --turns {turns} --batch {batch} --seed {seed}"
    report = benchmark_labels(*parts, command, turns, batch, seed)
    print(report["figures"])
    write_json(Path(out) if out else folder / "docs" / "benchmark.json", report)


def tokens(
    bundle: str = "brain_mr_synthesis_autoregressive",
    turns: int = 1,
    batch: int = 1,
    seed: int = 0,
    out: str | None = None,
    root: str = "bundles",
) -> None:
    """Seconds per volume of our sampling with a cache, of the same loop without one, and of MONAI's own inferer.

    Args:
        bundle: name of a bundle whose network is a `TokenImages`.
        turns, batch, seed, out, root: see `labels`; one turn takes minutes.
    """
    folder = Path(root) / bundle
    network = load_config(folder).get_parsed_content("network")
    command = f"python scripts/benchmark.py tokens --bundle {bundle} --turns {turns} --batch {batch} --seed {seed}"
    report = benchmark_tokens(network, command, turns, batch, seed)
    print_table(report["measured"]["rows"])
    print(report["figures"])
    write_json(Path(out) if out else folder / "docs" / "benchmark.json", report)


def paper(
    stage: str = "decode",
    bundle: str = "brain_mr_synthesis_ldm",
    crop: tuple[int, int, int] | None = None,
    autocast: str | None = None,
    out: str | None = None,
    root: str = "bundles",
) -> None:
    """Memory and seconds of the published scale on this machine: a training step of a stage, or decoding.

    Args:
        stage: "autoencoder" (two steps on a crop, the second with its critic), "diffusion" (one step, whole latent)
            or "decode" (one window of paper.json, of which a volume takes several; memory is that of one).
        bundle: name of a bundle with paper.json and, for the stages, paper_<stage>.json.
        crop: voxels of the image, each a multiple of 8; by default 64 x 64 x 64, and the window of paper.json.
        autocast: None, "bfloat16" or "float16".
        out: JSON file; by default docs/paper_scale.json of the bundle, where the row of this stage is replaced.
        root: folder of the bundles.
    """
    folder = Path(root) / bundle
    row = measure_paper(lambda overlays, values: load_config(folder, overlays, values), stage, crop, autocast)
    print(row)
    path = Path(out) if out else folder / "docs" / "paper_scale.json"
    write_json(path, paper_report(row, read_json(path) if path.is_file() else None))


if __name__ == "__main__":
    run({"sampling": sampling, "labels": labels, "tokens": tokens, "paper": paper})
