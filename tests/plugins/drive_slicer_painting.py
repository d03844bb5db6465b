"""Generate a labelled slice in the extension's panel and paint its labels again; prints what was seen, as JSON.

python drive_slicer_painting.py SERVER_URL FOLDER_FOR_PICTURES_AND_ARRAYS MODEL STUDY_OF_A_STYLE
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from drive_slicer_extension import Driver


def label_counts(driver) -> dict[str, int]:
    """Pixels of each segment of the result."""
    import numpy as np

    node, found = driver.result.segmentation, {}
    segmentation = node.GetSegmentation()
    for number in range(segmentation.GetNumberOfSegments()):
        name = segmentation.GetNthSegmentID(number)
        array = driver.slicer.util.arrayFromSegmentBinaryLabelmap(node, name)
        found[segmentation.GetNthSegment(number).GetName()] = int(np.count_nonzero(array))
    return found


def main(url: str, folder: str, model: str, study: str) -> dict:
    """A request, its segmentation in another style and in a study's, a style that there is not."""
    driver = Driver(Path(folder))
    panel = driver.panel
    driver.connect(url)
    driver.choose(model)
    alone, styles, labels = bool(panel.runButton.enabled), [], []
    driver.press_run(WMH_ml=1.0, slice_height=0.6, style="T2w", steps=4, seed=2)
    first = driver.result
    for name, style in (("generated", None), ("painted", "FLAIR"), ("own", study)):
        if style is not None:
            panel.labels.setCurrentNode(first.segmentation)
            driver.press_run(style=style)
        driver.keep(name, driver.result.volume)
        driver.picture(name)
        labels.append(label_counts(driver))
        sidecar = driver.result.sidecar
        styles.append((sidecar.get("settings") or sidecar["sampler"])["style"])
    large, said = driver.large, driver.said()
    driver.press_run(style="T9")
    facts = {"verb": panel.runButton.text, "alone": alone, "large": large, "labels": labels, "styles": styles}
    return {**facts, "said": said, "refused": panel.status.text}


if __name__ == "__main__":
    print("REPORT " + json.dumps(main(*sys.argv[1:5])), flush=True)
    os._exit(0)  # VTK's and Qt's own ends disagree
