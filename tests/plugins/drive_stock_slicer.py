"""Drive Slicer's own MONAI Label module, unmodified, against a server; prints what its scene then holds, as JSON.

    python drive_stock_slicer.py FOLDER_OF_MONAILabel.py SERVER_URL PICTURE.png

A process of its own, because Slicer's libraries and Qt do not leave a process again.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
MAP, STRATEGY = "phantom_mr_anomaly_map_tiny", "generate_brain_mr_synthesis_ldm"


def main(source: str, url: str, picture: str) -> dict:
    """Fetch the models, set the conditions, generate a study, run a map on it."""
    import slicer_host as host

    sys.path.insert(0, source)
    app = host.install(os.path.join(source, "Resources"))
    import slicer

    host.settings.update({"MONAILabel/serverUrl": url, "MONAILabel/serverUrlHistory": url})
    # It would run the first model of its list on a new sample, which refuses what random weights make: no brain.
    host.settings["MONAILabel/autoRunSegmentationOnNextSample"] = False
    import MONAILabel

    widget = MONAILabel.MONAILabelWidget()
    widget.setup()
    ui = widget.ui
    ui.serverComboBox.setCurrentText(url)
    widget.onClickFetchInfo()
    box = ui.segmentationModelSelector
    report: dict = {"models": [box.itemText(number) for number in range(box.count)]}

    def fields() -> dict[str, int]:
        return {ui.configTable.item(row, 0).text(): row for row in range(ui.configTable.rowCount)}

    def segments() -> dict[str, int]:
        node = widget._segmentNode
        if node is None:
            return {}
        found = node.GetSegmentation()
        counts = {}
        for number in range(found.GetNumberOfSegments()):
            name = found.GetNthSegmentID(number)
            voxels = slicer.util.arrayFromSegmentBinaryLabelmap(node, name, widget._volumeNode)
            counts[found.GetNthSegment(number).GetName()] = int((voxels > 0).sum())
        return counts

    ui.optionsSection.setCurrentIndex(ui.optionsSection.findText("activelearning"))
    ui.optionsName.setCurrentIndex(ui.optionsName.findText(STRATEGY))
    report["conditions"] = sorted(fields())
    ui.configTable.item(fields()["age"], 1).setText("64")
    ui.configTable.item(fields()["seed"], 1).setText("77")
    sex = ui.configTable.cellWidget(fields()["sex"], 1)
    sex.setCurrentIndex(sex.findText("M"))
    ui.strategyBox.setCurrentIndex(ui.strategyBox.findText(STRATEGY))
    ui.nextSampleButton.click()
    volume = widget._volumeNode
    report["volume"] = widget.current_sample["id"] if volume else None
    if volume:
        array = slicer.util.arrayFromVolume(volume)
        report |= {"shape": list(array.shape), "mean": float(array.mean())}
    box.setCurrentIndex(box.findText(MAP))
    widget.updateParameterNodeFromGUI()
    ui.segmentationButton.click()
    report["segments"] = segments()
    report["messages"] = [list(message) for message in host.messages]
    widget.parent.resize(520, 1100)
    widget.parent.show()
    app.qt_application.processEvents()
    report["picture"] = bool(widget.parent.grab().save(picture))
    return report


if __name__ == "__main__":
    print("REPORT " + json.dumps(main(*sys.argv[1:4])), flush=True)
    os._exit(0)  # VTK's and Qt's own ends disagree
