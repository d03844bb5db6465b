"""nnU-Net's rules for a raw data set, those of its `verify_dataset_integrity`, and stricter where that only warns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk


def check_nnunet(folder: Path) -> dict:
    """Fail where nnU-Net would refuse or warn; gives dataset.json."""
    described = json.loads((folder / "dataset.json").read_text())
    channels, ending = described["channel_names"], described["file_ending"]
    assert list(channels) == [str(number) for number in range(len(channels))]
    labels, order = described["labels"], described.get("regions_class_order")
    assert labels["background"] == 0
    values = {value for entry in labels.values() for value in (entry if isinstance(entry, list) else [entry])}
    assert sorted(values) == list(range(len(values))), "labels are consecutive"
    if any(isinstance(entry, list) for entry in labels.values()):
        assert len(order) == len(labels) - 1
    cases = sorted(path.name.removesuffix(ending) for path in (folder / "labelsTr").iterdir())
    assert len(cases) == described["numTraining"] > 0
    images = {path.name for path in (folder / "imagesTr").iterdir()}
    assert images == {f"{case}_{int(number):04d}{ending}" for case in cases for number in channels}
    for case in cases:
        label = sitk.ReadImage(folder / "labelsTr" / f"{case}{ending}")
        found = sitk.GetArrayFromImage(label)
        assert set(np.unique(found).tolist()) <= values
        for number in channels:
            image = sitk.ReadImage(folder / "imagesTr" / f"{case}_{int(number):04d}{ending}")
            assert np.isfinite(sitk.GetArrayFromImage(image)).all()
            assert image.GetSize() == label.GetSize()
            for fact in ("GetSpacing", "GetOrigin", "GetDirection"):
                assert np.allclose(getattr(image, fact)(), getattr(label, fact)()), f"{case}: {fact}"
    return described
