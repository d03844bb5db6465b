"""The pictures of the SynthZoo panel in docs/slicer.md and in the extension, made again, each over sample data.

    python picture_slicer_extension.py SERVER_URL FOLDER [MODEL,MODEL]

The server serves the released bundles.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import drive_slicer_extension

# Model -> name of the picture, and what is requested.
PICTURES: dict[str, tuple[str, dict]] = {
    "brain_mr_synthesis_ldm": ("generated", {"age": 78, "sex": "F", "ventricle_ml": 90, "seed": 12}),
    "brain_mr_anomaly_map_manytasks": ("heat_map", {}),
    "echo_us_counterfactual_twin": ("video", {"ef": 70}),
}


def main(url: str, folder: str, models: str = "") -> None:
    drive_slicer_extension.PATIENCE_S = 900  # a whole map on a busy machine
    driver = drive_slicer_extension.Driver(Path(folder))
    driver.connect(url)
    driver.panel.url.text = "http://127.0.0.1:8000"  # what a reader has
    for name in [name for name in models.split(",") if name] or list(PICTURES):
        picture, requested = PICTURES[name]
        driver.choose(name)
        if driver.widget.logic.models[name].takes_images:
            driver.panel.sampleButton.click()
        driver.panel.settingsSection.collapsed = picture != "heat_map"
        driver.panel.keep.checked = False
        print(name, driver.press_run(**requested)[-1], driver.said())
        driver.reset_views()
        if driver.result is not None and driver.result.heat is not None:
            driver.panel.regions.setCurrentRow(0)
        if driver.result is not None and driver.result.browser is not None:
            driver.panel.frame.value = 3
            driver.sequences.UpdateProxyNodesFromSequences(driver.result.browser)
        print(driver.picture(picture), driver.panel.facts.text)


if __name__ == "__main__":
    main(*sys.argv[1:4])
    os._exit(0)  # VTK's and Qt's own ends disagree
