"""The skeletons of `new_bundle` as one table: for each task what comes in, what goes out, and how it is learnt.

Every one runs as it is and trains in seconds on phantoms, with a network too small to be good. `new_configs` turns a
row of this table into the configs of a bundle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SPACING_MM = 4.0
BRAIN_SHAPE = [48, 56, 48]  # of a phantom
HEAD_SHAPE = [56, 64, 56]  # of a scan, see `synthzoo.transforms.head_grid`
CLIP_SHAPE = [16, 32, 32]  # frames, height, width
PICTURE_SHAPE = [48, 56]  # of a slice of a phantom
RADIOGRAPH_SIZE = 64  # of the grid that radiographs are brought to
FINDINGS = ["consolidation", "effusion"]  # in the order of the chest phantom's masks
FPS = 16.0
AGE = {"type": "number", "minimum": 20, "maximum": 90, "unit": "years", "description": "age at the scan"}
EF = {"type": "number", "minimum": 10, "maximum": 85, "unit": "percent", "description": "ejection fraction requested"}
EF_FACTUAL = {
    "type": "number",
    "minimum": 0,
    "maximum": 100,
    "unit": "percent",
    "description": "ejection fraction that the video shows; unset if unknown",
}
THRESHOLD = {"type": "number", "minimum": 0, "maximum": 1, "description": "value from which a voxel counts"}
PHRASES = ["ventricle", "grey matter"]
BCE = "torch.nn.functional.binary_cross_entropy_with_logits"
TO_RADIOGRAPH = {"_target_": "synthzoo.transforms.radiograph_grid.FromRadiographGridd", "keys": "pred"}
CHESTS = {
    "_target_": "synthzoo.datasets.chest.phantoms.ChestPhantomDataset",
    "patients": "@train_size",
    "studies": 1,
    "size": RADIOGRAPH_SIZE,
}
TO_SCAN = {"_target_": "synthzoo.transforms.head_grid.FromHeadGridd", "keys": "pred"}
SIGMOID = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}
CLAMP = {"_target_": "Lambdad", "keys": "pred", "func": "$lambda pred: pred.clamp(0, 1)"}
REGIONS = {"_target_": "synthzoo.transforms.regions.HeatMapRegionsd", "keys": "pred", "threshold": "@threshold"}
SCALE = {
    "_target_": "ScaleIntensityRangePercentilesd",
    "keys": "image",
    "lower": 0,
    "upper": 99.5,
    "b_min": 0,
    "b_max": 1,
    "clip": True,
}
PHANTOMS = {
    "_target_": "synthzoo.datasets.brain.phantoms.BrainPhantomDataset",
    "size": "@train_size",
    "spacing_mm": SPACING_MM,
}
TRUTHS = {"_target_": "synthzoo.datasets.brain.truths.BrainTruths", "size": "@train_size", "spacing_mm": SPACING_MM}
PLANT = {
    "_target_": "RandCoarseDropoutd",
    "keys": "image",
    "holes": 2,
    "spatial_size": 8,
    "fill_value": [0, 1],
    "prob": 0.9,
}
HEALTHY = {"_target_": "CopyItemsd", "keys": "image", "names": "healthy"}


def unet(out_channels: int = 1, spatial_dims: int = 3) -> dict[str, Any]:
    """A tiny U-Net of volumes and clips, or of pictures."""
    return {
        "_target_": "UNet",
        "spatial_dims": spatial_dims,
        "in_channels": 1,
        "out_channels": out_channels,
        "channels": [8, 16, 32],
        "strides": [2, 2],
        "num_res_units": 1,
    }


@dataclass(frozen=True)
class Skeleton:
    """What is special to one task.

    Args:
        does: the description, a sentence.
        limit: what it cannot do, a sentence.
        source: "requests" makes images from nothing, "scans" reads heads, "pictures" 2D images, "radiographs" chests,
            "videos" echo videos.
        outputs: kind -> {"suffix", "description"}, as metadata.json wants them; the first is the main file.
        saved: key of the sample -> suffix, as the saving transform wants them.
        pred: what differs from a grey image in the description of the output tensor.
        network: the network's definition.
        conditions, options: name -> JSON Schema property.
        values: name -> default of each condition and option.
        after: postprocessing between the network and the files.
        sidecar: keys of the sample that the sidecar holds.
        rows: the training data set.
        changes: transforms of its rows.
        loss: expression over `network` and `batch`.
        shape: of a row of training, for early errors.
        key: of the row that has this shape.
    """

    does: str
    limit: str
    source: str
    outputs: Mapping[str, Mapping[str, Any]]
    saved: Mapping[str, str]
    pred: Mapping[str, Any]
    loss: str
    network: Mapping[str, Any] = field(default_factory=unet)
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    after: Sequence[Mapping[str, Any]] = ()
    sidecar: Sequence[str] = ()
    rows: Mapping[str, Any] = field(default_factory=lambda: dict(TRUTHS))
    changes: Sequence[Mapping[str, Any]] = ()
    shape: Sequence[int] = (1, *BRAIN_SHAPE)
    key: str = "image"


SKELETONS = {
    "synthesis": Skeleton(
        does="A tiny network that turns noise into the mean phantom brain.",
        limit="It knows the phantom only and ignores its conditions.",
        source="requests",
        outputs={"image": {"suffix": "T1w.nii.gz", "description": "T1-weighted volume in [0, 1]"}},
        saved={"pred": "T1w.nii.gz"},
        pred={"value_range": [0, 1], "channel_def": {"0": "T1w"}},
        loss="torch.nn.functional.l1_loss(network(torch.randn_like(batch['image'])), batch['image'])",
        conditions={"age": AGE},
        values={"age": None},
        after=[CLAMP],
        rows=PHANTOMS,
    ),
    "translation": Skeleton(
        does="A tiny network that turns a T1-weighted head into a T2-weighted one.",
        limit="It has learnt from phantoms without skull and blurs what is fine.",
        source="scans",
        outputs={
            "image": {"suffix": "T2w.nii.gz", "description": "T2-weighted volume in [0, 1] on the scan's own grid"}
        },
        saved={"pred": "T2w.nii.gz"},
        pred={"value_range": [0, 1], "channel_def": {"0": "T2w"}},
        loss="torch.nn.functional.l1_loss(network(batch['image']), batch['target'])",
        after=[CLAMP, TO_SCAN],
    ),
    "anomaly_map": Skeleton(
        does="A tiny network that finds where healthy phantom brains were changed.",
        limit="It knows the phantom only and sees the skull as an anomaly.",
        source="scans",
        outputs={
            "heat_map": {"suffix": "heatmap.nii.gz", "description": "anomaly in [0, 1] on the scan's own grid"},
            "label": {"suffix": "dseg.nii.gz", "description": "regions above the threshold, 1 is the largest"},
        },
        saved={"pred": "heatmap.nii.gz", "dseg": "dseg.nii.gz"},
        pred={"type": "logits", "channel_def": {"0": "anomaly"}},
        loss=f"{BCE}(network(batch['image']), (batch['image'] != batch['healthy']).float())",
        options={"threshold": THRESHOLD},
        values={"threshold": 0.5},
        after=[SIGMOID, TO_SCAN, REGIONS],
        sidecar=["score", "peak", "threshold", "regions"],
        rows=PHANTOMS,
        changes=[SCALE, HEALTHY, PLANT],
    ),
    "counterfactual": Skeleton(
        does="A tiny network that gives a video back, where it should show another ejection fraction.",
        limit="It ignores the ejection fraction that is requested.",
        source="videos",
        outputs={"video": {"suffix": "echo.avi", "description": "the video with another ejection fraction"}},
        saved={"pred": "echo.avi"},
        pred={"value_range": [0, 1], "channel_def": {"0": f"grey level, {FPS:g} a second"}},
        loss="torch.nn.functional.l1_loss(network(batch['video']), batch['video'])",
        conditions={"ef": EF, "ef_factual": EF_FACTUAL},
        values={"ef": 30.0, "ef_factual": None},
        after=[CLAMP],
        rows={"_target_": "synthzoo.datasets.echo.training_clips.training_clips", "patients": "@train_size"},
        shape=(1, *CLIP_SHAPE),
        key="video",
    ),
    "grounding": Skeleton(
        does="A tiny network that shows where in a picture lies what a phrase names.",
        limit="It knows two phrases and has learnt from slices of phantoms without skull.",
        source="pictures",
        outputs={"heat_map": {"suffix": "heatmap.png", "description": "probability of what the phrase names"}},
        saved={"pred": "heatmap.png"},
        pred={"type": "logits", "num_channels": 2, "channel_def": {"0": PHRASES[0], "1": PHRASES[1]}},
        loss=f"{BCE}(network(batch['image']), batch['tissues'][:, [3, 0]])",
        network=unet(len(PHRASES), spatial_dims=2),
        options={"phrase": {"type": "string", "enum": PHRASES, "description": "what is sought"}},
        values={"phrase": PHRASES[0]},
        after=[
            SIGMOID,
            {"_target_": "Lambdad", "keys": "pred", "func": f"$lambda pred: pred[[{PHRASES}.index(@phrase)]]"},
        ],
        changes=[{"_target_": "Lambdad", "keys": ["image", "tissues"], "func": "$lambda volume: volume[..., 24]"}],
        shape=(1, *PICTURE_SHAPE),
    ),
    "segmentation": Skeleton(
        does="A tiny network that outlines the ventricles of a head.",
        limit="It has learnt from phantoms without skull.",
        source="scans",
        outputs={"label": {"suffix": "dseg.nii.gz", "description": "1 in the ventricles", "names": {"ventricles": 1}}},
        saved={"pred": "dseg.nii.gz"},
        pred={"type": "logits", "channel_def": {"0": "ventricles"}},
        loss=f"{BCE}(network(batch['image']), batch['tissues'][:, 3:])",
        options={"threshold": THRESHOLD},
        values={"threshold": 0.5},
        after=[SIGMOID, TO_SCAN, {"_target_": "AsDiscreted", "keys": "pred", "threshold": "@threshold"}],
    ),
    "classification": Skeleton(
        does="A tiny network that tells younger heads from older ones.",
        limit="It has learnt from phantoms without skull.",
        source="scans",
        outputs={
            "class_scores": {
                "suffix": "classes.tsv",
                "description": "probability of class 0, to 55 years, and of class 1, over 55",
                "columns": ["class", "probability"],
            }
        },
        saved={"pred": "classes.tsv"},
        pred={"type": "logits", "num_channels": 2, "spatial_shape": [], "channel_def": {"0": "to 55", "1": "over 55"}},
        loss="torch.nn.functional.cross_entropy(network(batch['image']), (batch['conditions'][:, 0] > 55).long())",
        network={
            "_target_": "ResNet",
            "block": "basic",
            "layers": [1, 1, 1, 1],
            "block_inplanes": [4, 8, 16, 32],
            "spatial_dims": 3,
            "n_input_channels": 1,
            "num_classes": 2,
            "conv1_t_stride": 2,
        },
        after=[
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {
                "_target_": "Lambdad",
                "keys": "pred",
                "func": "$lambda pred: {'class': ['to 55', 'over 55'], 'probability': pred.tolist()}",
            },
        ],
        rows=PHANTOMS,
    ),
    "privacy_audit": Skeleton(
        does="A tiny autoencoder whose error says whether an image was trained on: what it knows it restores better.",
        limit="Its threshold is a placeholder; set it on images that were not trained on.",
        source="scans",
        outputs={
            "table": {
                "suffix": "audit.tsv",
                "description": "mean error of the restored image; known is 1 where it is below the threshold",
                "columns": ["error", "known"],
            }
        },
        saved={"pred": "audit.tsv"},
        pred={"value_range": [0, 1], "channel_def": {"0": "restored head"}},
        loss="torch.nn.functional.l1_loss(network(batch['image']), batch['image'])",
        options={"threshold": THRESHOLD | {"description": "error below which an image counts as known"}},
        values={"threshold": 0.02},
        after=[
            {
                "_target_": "Lambda",
                "func": "$lambda sample: {**sample, 'error': float((sample['pred'] - sample['image']).abs().mean())}",
            },
            {
                "_target_": "Lambda",
                "func": "$lambda sample: {**sample, 'pred': {'error': [sample['error']], "
                "'known': [sample['error'] < @threshold]}}",
            },
        ],
        rows=PHANTOMS,
    ),
}


# What takes the place of these for bundles of radiographs, whose names say `_xr_`.
RADIOGRAPH_SKELETONS = {
    "anomaly_map": Skeleton(
        does="A tiny network that finds where healthy phantom chests were changed.",
        limit="It knows the phantom only.",
        source="radiographs",
        outputs={
            "heat_map": {"suffix": "heatmap.png", "description": "anomaly in [0, 1] on the radiograph's own grid"}
        },
        saved={"pred": "heatmap.png"},
        pred={"type": "logits", "channel_def": {"0": "anomaly"}},
        loss=f"{BCE}(network(batch['image']), (batch['image'] != batch['healthy']).float())",
        network=unet(spatial_dims=2),
        after=[SIGMOID, TO_RADIOGRAPH],
        sidecar=["radiograph"],
        rows={**CHESTS, "findings": "none"},
        changes=[HEALTHY, PLANT],
        shape=(1, RADIOGRAPH_SIZE, RADIOGRAPH_SIZE),
    ),
    "grounding": Skeleton(
        does="A tiny network that shows where in a chest radiograph lies what a phrase names.",
        limit="It knows two phrases and has learnt from phantoms.",
        source="radiographs",
        outputs={"heat_map": {"suffix": "heatmap.png", "description": "probability of what the phrase names"}},
        saved={"pred": "heatmap.png"},
        pred={"type": "logits", "num_channels": 2, "channel_def": {"0": FINDINGS[0], "1": FINDINGS[1]}},
        loss=f"{BCE}(network(batch['image']), batch['mask'][:, 3:5])",
        network=unet(len(FINDINGS), spatial_dims=2),
        options={"phrase": {"type": "string", "enum": FINDINGS, "description": "what is sought"}},
        values={"phrase": FINDINGS[0]},
        after=[
            SIGMOID,
            {"_target_": "Lambdad", "keys": "pred", "func": f"$lambda pred: pred[[{FINDINGS}.index(@phrase)]]"},
            TO_RADIOGRAPH,
        ],
        sidecar=["radiograph"],
        rows={**CHESTS, "masks": True},
        shape=(1, RADIOGRAPH_SIZE, RADIOGRAPH_SIZE),
    ),
}


def skeleton_of(name: str, task: str) -> Skeleton:
    """The skeleton of a task for a bundle's name: radiographs have their own where there is one."""
    flat = name.split("_")[1] == "xr" and task in RADIOGRAPH_SKELETONS
    return (RADIOGRAPH_SKELETONS if flat else SKELETONS)[task]
