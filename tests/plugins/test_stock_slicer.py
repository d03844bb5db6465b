"""Slicer's own MONAI Label module, unmodified: its panel, Next Sample and Run against a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("monailabel", reason="monailabel is not installed; docs/pins.md says how")
from slicer_python import SLICER_PYTHON

pytestmark = pytest.mark.needs_slicer("slicer", "drawing", "qt", "stock")
SYNTHESIS, MAP = "brain_mr_synthesis_ldm", "phantom_mr_anomaly_map_tiny"


@pytest.fixture(scope="module")
def report(server, tmp_path_factory) -> dict:
    """What the module's scene holds after Next Sample and Run."""
    source = Path(sys.prefix) / "monailabel" / "plugins" / "slicer" / "MONAILabel"
    assert (source / "MONAILabel.py").is_file(), "monailabel brings the module's source"
    picture = tmp_path_factory.mktemp("slicer") / "stock_module.png"
    command = [SLICER_PYTHON, str(Path(__file__).with_name("drive_stock_slicer.py")), str(source), server.url]
    done = subprocess.run([*command, str(picture)], capture_output=True, text=True, timeout=280, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("REPORT ")]
    assert lines, done.stdout[-2000:] + done.stderr[-3000:]
    return json.loads(lines[0].removeprefix("REPORT "))


def test_the_module_offers_maps_and_reports_no_error(report):
    assert MAP in report["models"] and SYNTHESIS not in report["models"]
    assert not [message for message in report["messages"] if message[0] == "errorDisplay"], report["messages"]


def test_next_sample_opens_a_synthetic_study_with_the_conditions_of_the_panel(report, client):
    assert {"age", "sex", "ventricle_ml", "brain_ml", "seed"} <= set(report["conditions"])
    assert report["shape"] == [48, 56, 48] and report["mean"] > 0
    stored = client.datastore()["objects"][report["volume"]]["image"]["info"]["sidecar"]
    assert stored["seed"] == 77 and stored["requested"]["age"] == 64.0 and stored["requested"]["sex"] == "M"


def test_run_shows_the_bands_of_the_map_as_segments_with_every_voxel(report, client):
    import nibabel as nib
    import numpy as np

    heat = np.asarray(nib.load(client.infer(MAP, report["volume"], {})[0]).dataobj)
    edges = [0.1, 0.25, 0.5, 0.75, 0.9, 2.0]
    expected = {
        f"anomaly > {low:g}": int(((heat >= np.float32(low)) & (heat < np.float32(high))).sum())
        for low, high in zip(edges, edges[1:])
    }
    offered = dict.fromkeys(client.info()["labels"], 0)  # the module makes a segment for each label of any model
    assert report["segments"] == offered | expected
