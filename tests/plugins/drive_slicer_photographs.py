"""Send photographs from the extension's panel and take colours back; prints what was seen, as JSON.

python drive_slicer_photographs.py SERVER_URL STUDY FILES_COMMA FOLDER_FOR_PICTURES_AND_ARRAYS COLOUR_MODEL GREY_MODEL
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from drive_slicer_extension import Driver


def main(url: str, study: str, files: str, folder: str, model: str, grey: str) -> dict:
    """A study of the server, then files of one's own, then what is refused."""
    import numpy as np
    from slicer_views import pixels
    from SynthZooLib import layout, volumes

    driver, seen = Driver(Path(folder)), {"classes": []}
    panel = driver.panel
    driver.connect(url)
    driver.choose(model)

    def keep(name: str, node) -> None:
        seen["classes"].append(node.GetClassName())
        driver.keep(name, node)

    panel.studies.setCurrentIndex(driver.widget.studyNames.index(study))
    panel.openButton.click()
    keep("study", driver.result.volume)
    driver.views["Red"].fit_view_to_content()
    layout.arrange(driver.scene, driver.result.volume)
    np.save(driver.folder / "study_view.npy", pixels(driver.views["Red"]))
    driver.picture("photograph")
    seen["chosen"] = panel.input.currentNode().GetName()
    driver.press_run()
    keep("made_of_study", driver.result.volume)
    driver.picture("colours")
    for number, path in enumerate(files.split(",")):
        node = volumes.read_volume(driver.scene, path, f"own {number}")
        keep(f"own_{number}", node)
        panel.input.setCurrentNode(node)
        driver.press_run()
        keep(f"made_of_own_{number}", driver.result.volume)
    seen["said"] = driver.said()
    pale = driver.scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "pale")
    driver.slicer.util.updateVolumeFromArray(pale, np.full((1, 8, 9, 4), 100, np.uint8))
    panel.input.setCurrentNode(pale)
    panel.runButton.click()
    seen["pale"] = driver.said() or [panel.status.text]
    driver.choose(grey)
    panel.input.setCurrentNode(node)
    driver.press_run()
    seen["grey"] = panel.status.text
    return seen


if __name__ == "__main__":
    print("REPORT " + json.dumps(main(*sys.argv[1:7])), flush=True)
    os._exit(0)  # VTK's and Qt's own ends disagree
