"""A folder of the bundle of brainspade3d whose segmenter is small and calls all of the brain white matter."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from bundle_runs import ROOT

from synthzoo.networks.saving import save_weights
from synthzoo.phantoms.brain.pathology.scans import LABELS
from synthzoo.systems.brainspade3d.segmenter import CLASSES, BrainSegmenter, start_segmenter

NAME = "brain_mr_synthesis_spade3d"
FEATURES = [8, 8, 8, 8, 8, 8]
CONFIGS = ROOT / "bundles" / NAME / "configs"
TASKS = json.loads((CONFIGS / "metadata.json").read_text())["synthzoo"]["tasks"]


def small_bundle(folder: Path) -> Path:
    """Make the bundle's folder below `folder`: its tasks' configs, metadata, small weights with a trained extractor."""
    bundle, shipped = folder / NAME, ROOT / "bundles" / "brain_mr_anomaly_map_manytasks"
    (bundle / "configs").mkdir(parents=True)
    for source in CONFIGS.glob("*.json"):
        config = json.loads(source.read_text())
        if "features" in config.get("network_def", {}):
            config["network_def"]["features"] = FEATURES
        (bundle / "configs" / source.name).write_text(json.dumps(config))
    network = start_segmenter(BrainSegmenter(FEATURES), shipped / "models" / "model.pt")
    with torch.no_grad():
        last = network.planes.final_conv
        last.weight.zero_()
        last.bias.zero_()
        last.bias[LABELS["white"] * network.pack**2 : (LABELS["white"] + 1) * network.pack**2] = 5.0
    assert len(last.bias) == len(CLASSES) * network.pack**2
    (bundle / "models").mkdir()
    save_weights(network, bundle / "models" / "segmenter.pt")
    return bundle
