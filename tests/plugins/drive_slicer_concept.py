"""Seek words in a photograph in the extension's panel; prints what was seen, as JSON.

python drive_slicer_concept.py SERVER_URL STUDY FOLDER_FOR_PICTURES_AND_ARRAYS MODEL PHOTOGRAPH
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from drive_slicer_extension import Driver

WORDS = ("car", "dog")  # the photograph shows a car, and no dog


def main(url: str, study: str, folder: str, model: str, photograph: str) -> dict:
    """Two words in a study, one of them in a photograph of one's own, and one that is not known."""
    from SynthZooLib import volumes

    driver = Driver(Path(folder))
    panel, widget = driver.panel, driver.widget
    driver.connect(url)
    driver.choose(model)
    panel.studies.setCurrentIndex(widget.studyNames.index(study))
    panel.openButton.click()
    panel.input.setCurrentNode(driver.result.volume)
    classes = [driver.result.volume.GetClassName()]
    driver.keep("photograph", driver.result.volume)
    found = []
    for word in WORDS:
        driver.press_run(concept=word)
        item = driver.result
        driver.keep(f"heat_{word}", item.heat)
        driver.picture(f"word_{word}")
        found.append({"concept": item.sidecar["settings"]["concept"], "opacity": panel.opacity.value})
    own = volumes.read_volume(driver.scene, photograph, "own")
    classes.append(own.GetClassName())
    panel.input.setCurrentNode(own)
    driver.press_run(concept=WORDS[0])
    driver.keep("heat_own", driver.result.heat)
    said = driver.said()
    driver.press_run(concept="dgo")
    refused = panel.status.text
    driver.said()
    return {"classes": classes, "found": found, "refused": refused, "said": said}


if __name__ == "__main__":
    print("REPORT " + json.dumps(main(*sys.argv[1:6])), flush=True)
    os._exit(0)  # VTK's and Qt's own ends disagree
