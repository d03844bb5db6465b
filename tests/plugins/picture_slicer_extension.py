"""The pictures of the SynthZoo panel in docs/slicer.md and in the extension, made again.

    python picture_slicer_extension.py SERVER_URL SCAN.nii.gz FOLDER [MODEL,MODEL]

The server serves the released bundles.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import drive_slicer_extension

REQUESTED = {
    "brain_mr_synthesis_ldm": {"age": 78, "sex": "F", "ventricle_ml": 90, "seed": 12},
    "echo_us_cine_synthesis_ldm": {"ef": 60, "frames": 32, "seed": 5},
}


def main(url: str, scan: str, folder: str, models: str = "") -> None:
    drive_slicer_extension.PATIENCE_S = 900  # a whole map on a busy machine
    driver = drive_slicer_extension.Driver(Path(folder))
    driver.connect(url)
    driver.panel.url.text = "http://127.0.0.1:8000"  # what a reader has
    from SynthZooLib import volumes

    node = volumes.read_volume(driver.scene, scan, Path(scan).name.split(".")[0])
    volumes.set_window(node)
    for name in [name for name in models.split(",") if name] or list(driver.widget.logic.models):
        model = driver.widget.logic.models[name]
        driver.choose(name)
        driver.panel.input.setCurrentNode(node)
        driver.panel.settingsSection.collapsed = model.task != "anomaly_map"
        driver.panel.keep.checked = False
        print(name, driver.press_run(**REQUESTED.get(name, {}))[-1], driver.said())
        driver.reset_views()
        if driver.result is not None and driver.result.heat is not None:
            driver.panel.regions.setCurrentRow(0)
        if driver.result is not None and driver.result.browser is not None:
            driver.panel.frame.value = 3
            driver.sequences.UpdateProxyNodesFromSequences(driver.result.browser)
        kind = "cine" if "video" in model.outputs else {"synthesis": "generated", "anomaly_map": "heat_map"}[model.task]
        print(driver.picture(kind), driver.panel.facts.text)


if __name__ == "__main__":
    main(*sys.argv[1:5])
    os._exit(0)  # VTK's and Qt's own ends disagree
