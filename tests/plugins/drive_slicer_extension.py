"""Drive the SynthZoo extension's own panel against a server; prints what its scene then holds, as JSON.

    python drive_slicer_extension.py SERVER_URL SCAN.nii.gz FOLDER_FOR_PICTURES_AND_ARRAYS

A process of its own, because Slicer's libraries and Qt do not leave a process again.
"""

from __future__ import annotations

import json
import os
import sys
import time
import types
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODULE = HERE.parents[1] / "plugins" / "slicer" / "SynthZoo" / "SynthZoo"
sys.path[:0] = [str(HERE), str(MODULE)]
PATIENCE_S = 240


class Driver:
    """The panel, the slice views and the scene, with the clicks of a reader."""

    def __init__(self, folder: Path):
        import slicer_host as host

        self.host, self.folder = host, folder
        self.app = host.install(str(MODULE / "Resources"))
        import slicer_widgets
        from slicer_views import make_views

        slicer_widgets.install()
        import slicer

        self.slicer, self.scene = slicer, slicer.mrmlScene
        self.views = make_views(self.app)
        self.layout = self.scene.AddNewNodeByClass("vtkMRMLLayoutNode")  # as the application has one
        self.layout.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self.sequences = slicer.vtkSlicerSequencesLogic()  # in Slicer the Sequences module has it
        self.sequences.SetMRMLScene(self.scene)
        import SynthZoo

        self.about = types.SimpleNamespace()  # what Slicer's module finder hands over
        SynthZoo.SynthZoo(self.about)
        self.widget = SynthZoo.SynthZooWidget()
        self.widget.setup()
        self.panel = self.widget.panel

    def connect(self, url: str) -> None:
        self.panel.url.text = url
        self.panel.connectButton.click()

    def choose(self, model: str) -> None:
        task = self.widget.logic.models[model].task
        self.panel.task.setCurrentIndex(self.widget.taskNames.index(task))
        self.panel.model.setCurrentIndex(self.widget.modelNames.index(model))
        assert self.widget.model.name == model

    def settle(self, until=lambda: False) -> list[str]:
        """Let the event loop run until the request has ended; gives the progress texts that were shown."""
        end, texts = time.monotonic() + PATIENCE_S, []
        while self.widget.logic.busy and time.monotonic() < end:
            self.app.qt_application.processEvents()
            if self.panel.status.text not in texts:
                texts.append(self.panel.status.text)
            if until():
                break
            time.sleep(0.005)
        return texts

    def settle_batch(self, until=lambda: False) -> list[str]:
        """As `settle`, until the batch over the server's studies has ended."""
        end, texts = time.monotonic() + PATIENCE_S, []
        while self.widget.logic.batch is not None and time.monotonic() < end:
            self.app.qt_application.processEvents()
            if self.panel.batchStatus.text not in texts:
                texts.append(self.panel.batchStatus.text)
            if until():
                break
            time.sleep(0.005)
        return texts

    def press_run(self, **values) -> list[str]:
        for name, value in values.items():
            self.widget.fields[name].set_value(value)
        self.panel.runButton.click()
        return self.settle()

    def said(self) -> list[str]:
        """The windows with errors since the last call."""
        found = [message[1] for message in self.host.messages]
        self.host.messages.clear()
        return found

    @property
    def result(self):
        return self.widget.results.result

    def keep(self, name: str, node) -> None:
        """Leave a node's voxels and place for the test."""
        import numpy as np
        from SynthZooLib import volumes

        np.savez(self.folder / name, voxels=volumes.voxels(node), affine=volumes.affine_of(node))

    @property
    def large(self) -> bool:
        """Whether there is one large slice view."""
        return self.layout.GetViewArrangement() == self.slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView

    def picture(self, name: str) -> bool:
        from slicer_views import SIDE, picture
        from SynthZooLib import layout

        views = {"Red": self.views["Red"]} if self.large else self.views
        self.views["Red"].update_size(*[2 * SIDE if self.large else SIDE] * 2)
        if self.large:  # what the application does when a view is resized
            self.views["Red"].fit_view_to_content()
            layout.arrange(self.scene, self.result.background)
        try:
            return picture(self.widget.parent, views, str(self.folder / f"{name}.png"))
        finally:
            self.views["Red"].update_size(SIDE, SIDE)

    def watch(self, browser, seconds: float) -> list[int]:
        """Let the application run for a while, with its timer of sequences; gives the frames that came, in order."""
        end, seen = time.monotonic() + seconds, [browser.GetSelectedItemNumber()]
        while time.monotonic() < end:
            self.sequences.UpdateAllProxyNodes()
            self.app.qt_application.processEvents()
            if browser.GetSelectedItemNumber() != seen[-1]:
                seen.append(browser.GetSelectedItemNumber())
            time.sleep(0.005)
        return seen

    def reset_views(self) -> None:
        self.app.display_manager.reset_views()


def main(url: str, scan: str, folder: str) -> dict:
    """One reader's session; a step's facts stand under its name."""
    from extension_steps import STEPS

    driver = Driver(Path(folder))
    report: dict = {"title": driver.about.title, "help": driver.about.helpText}
    for step in STEPS:
        began = time.monotonic()
        found = step(driver, url, scan)
        report[step.__name__] = {**found, "said": driver.said(), "seconds": round(time.monotonic() - began, 2)}
    return report


if __name__ == "__main__":
    print("REPORT " + json.dumps(main(*sys.argv[1:4])), flush=True)
    os._exit(0)  # VTK's and Qt's own ends disagree
