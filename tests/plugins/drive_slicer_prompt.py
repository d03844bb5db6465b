"""Seek phrases in a radiograph in the extension's panel, and let a sentence become one; prints what was seen, as JSON.

python drive_slicer_prompt.py SERVER_URL STUDY FOLDER_FOR_PICTURES_AND_ARRAYS MODEL
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from drive_slicer_extension import Driver

PHRASES = ("consolidation", "left pleural effusion")
SENTENCE = "Large right pleural effusion. No pneumothorax."


def main(url: str, study: str, folder: str, model: str) -> dict:
    """Two phrases, a word that is not known, a sentence without a radiograph."""
    driver = Driver(Path(folder))
    panel, widget = driver.panel, driver.widget
    driver.connect(url)
    driver.choose(model)
    alone = bool(panel.runButton.enabled)
    shown = widget.fields["prompt"].widget.isVisibleTo(panel.conditionsSection)
    panel.studies.setCurrentIndex(widget.studyNames.index(study))
    panel.openButton.click()
    panel.input.setCurrentNode(driver.result.volume)
    found = []
    for number, phrase in enumerate(PHRASES):
        driver.press_run(prompt=phrase)
        item = driver.result
        driver.keep(f"heat_{number}", item.heat)
        driver.picture(f"phrase_{number}")
        colors = item.heat.GetDisplayNode().GetColorNode().GetName()
        found.append({"opacity": panel.opacity.value, "colors": colors, "prompt": item.sidecar["settings"]["prompt"]})
    said = driver.said()
    driver.press_run(prompt="noduel")
    refused = panel.status.text
    driver.said()
    panel.input.setCurrentNode(None)
    driver.press_run(prompt=SENTENCE, steps=4)
    driver.keep("generated", driver.result.volume)
    driver.picture("generated")
    facts = {"verb": panel.runButton.text, "alone": alone, "open": bool(shown), "found": found, "refused": refused}
    return {**facts, "said": said + driver.said(), "generated": driver.result.volume.GetName()}


if __name__ == "__main__":
    print("REPORT " + json.dumps(main(*sys.argv[1:5])), flush=True)
    os._exit(0)  # VTK's and Qt's own ends disagree
