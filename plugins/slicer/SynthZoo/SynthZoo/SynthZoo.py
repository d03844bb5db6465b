"""Synthetic images and videos, counterfactuals and anomaly maps from a SynthZoo server, in 3D Slicer.

Here is only what is Qt and Slicer's module frame; the work is SynthZooLib's, which runs without a window.
"""

from __future__ import annotations

import os
import sys

import qt
import slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin
from SynthZooLib.client import START
from SynthZooLib.errors import Cancelled, ZooError
from SynthZooLib.models import tasks_of
from SynthZooLib.session import Session, is_local
from SynthZooWidgets.fields import OptionField
from SynthZooWidgets.panel import Panel, fill, show_progress, waiting
from SynthZooWidgets.result import ResultView

URL, SETTING = "http://127.0.0.1:8000", "SynthZoo/serverUrl"
TICK_MS, LET_THREADS_RUN_S = 50, 0.02


class SynthZoo(ScriptedLoadableModule):
    """What the module finder shows."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "SynthZoo"
        parent.categories = ["Machine Learning"]
        parent.dependencies = []
        parent.contributors = ["The SynthZoo contributors"]
        parent.helpText = _(
            "<p><b>Research only: no map and no image of this module is a diagnosis.</b></p>"
            "<p>Start a server once: <code>{start}</code>, and press <i>Connect</i>. Choose a task; the panel then "
            "shows what can be requested of the model. Without a scan of your own press <i>Sample data</i>.</p>"
            "<ul><li><b>Anomaly map</b>: load a scan, press <i>Map</i>. The map lies over the scan; opacity and "
            "threshold have sliders, <i>Jump to the worst region</i> brings the slices there.</li>"
            "<li><b>Synthesis</b>: tick the conditions that matter, set them, press <i>Generate</i>.</li>"
            "<li><b>Translation</b>: load a scan, press <i>Translate</i>; the opacity slider fades from the scan to "
            "the new image.</li>"
            "<li><b>Counterfactual</b>: load a video, request another value, press <i>Predict</i>, then <i>Play</i>."
            "</li></ul>"
            "<p>The scan goes to the server whose address stands in the panel, and to nowhere else.</p>"
        ).format(start=START)
        parent.acknowledgementText = _("SynthZoo serves its models with MONAI Label.")


class SynthZooLogic(ScriptedLoadableModuleLogic, Session):
    """A `Session` on the application's scene, for scripts: `slicer.util.getModuleLogic("SynthZoo")`."""

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        Session.__init__(self, slicer.mrmlScene, slicer.app.temporaryPath)


class SynthZooWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Between the panel and the session: every method is a click."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)

    # --- the module's life ---------------------------------------------------------------------------------------

    def setup(self) -> None:
        """Build the panel and connect it."""
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = SynthZooLogic()
        self.fields: dict = {}
        self.taskNames: list = []
        self.modelNames: list = []
        self.studyNames: list = []
        self.versions = None
        self.panel = panel = Panel(self.layout)
        panel.url.text = qt.QSettings().value(SETTING) or URL
        panel.connectButton.connect("clicked()", self.onConnect)
        panel.url.connect("returnPressed()", self.onConnect)
        panel.task.connect("currentIndexChanged(int)", self.onTask)
        panel.model.connect("currentIndexChanged(int)", self.onModel)
        for box in (panel.input, panel.labels):
            box.connect("currentNodeChanged(vtkMRMLNode*)", self.onInput)
        panel.sampleButton.connect("clicked()", self.onSample)
        panel.runButton.connect("clicked()", self.onRun)
        panel.cancelButton.connect("clicked()", self.onCancel)
        self.results = ResultView(panel, slicer.mrmlScene)
        panel.refreshButton.connect("clicked()", self.onRefresh)
        panel.openButton.connect("clicked()", self.onOpen)
        panel.openWorstButton.connect("clicked()", self.onOpenWorst)
        panel.batchButton.connect("clicked()", self.onBatch)
        panel.stopBatchButton.connect("clicked()", self.onStopBatch)
        self.timer = qt.QTimer()
        self.timer.setInterval(TICK_MS)
        self.timer.connect("timeout()", self.onTick)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneClosed)
        self.showModels()

    def enter(self) -> None:
        """When the module is opened: connect by itself, if the server is on this machine."""
        if self.logic.client is None and is_local(self.panel.url.text):
            try:
                self.connectTo(self.panel.url.text)
            except ZooError as error:
                self.panel.serverStatus.text = str(error)

    def cleanup(self) -> None:
        """When the module goes."""
        self.timer.stop()
        self.removeObservers()
        self.results.stop()
        for pending in (self.logic.run, self.logic.batch):
            if pending is not None:
                pending.close()

    def onSceneClosed(self, _caller=None, _event=None) -> None:
        """The nodes are gone."""
        self.results.take([])

    def tell(self, error: ZooError, line=None) -> None:
        """Say what went wrong, in a line of the panel, else that below the button, and in a window."""
        (line or self.panel.status).text = str(error)
        if not isinstance(error, Cancelled):
            slicer.util.errorDisplay(str(error), windowTitle="SynthZoo")

    # --- server and models ---------------------------------------------------------------------------------------

    def onConnect(self) -> None:
        """Read the server's index."""
        try:
            self.connectTo(self.panel.url.text)
        except ZooError as error:
            self.panel.serverStatus.text = _("Not connected.")
            self.showModels()
            self.tell(error)

    def connectTo(self, url: str) -> None:
        """Connect, fill the lists, and keep the address for the next time."""
        with waiting():
            models = self.logic.connect(url)
        qt.QSettings().setValue(SETTING, url)
        self.panel.serverStatus.text = _("Connected: {count} models.").format(count=len(models))
        self.panel.status.text = ""
        self.showModels()
        self.onRefresh()
        if self.logic.follow_batch() is not None:
            self.panel.studiesSection.collapsed = False
            self.timer.start()
        self.showBusy()

    def showModels(self) -> None:
        """Fill the list of tasks."""
        tasks = tasks_of(self.logic.models)
        self.taskNames = list(tasks)
        fill(self.panel.task, tasks.values())
        self.onTask()

    def onTask(self, *_args) -> None:
        """Fill the list of models of the task."""
        number = self.panel.task.currentIndex
        task = self.taskNames[number] if 0 <= number < len(self.taskNames) else None
        found = [model for model in self.logic.models.values() if model.task == task]
        self.modelNames = [model.name for model in found]
        fill(self.panel.model, [model.title for model in found])
        self.onModel()

    @property
    def model(self):
        """The chosen model, or None."""
        number = self.panel.model.currentIndex
        return self.logic.models.get(self.modelNames[number]) if 0 <= number < len(self.modelNames) else None

    def onModel(self, *_args) -> None:
        """Build the fields of the model."""
        model, panel = self.model, self.panel
        options = list(model.options.values()) if model else []
        self.fields = {option.name: OptionField(option) for option in options}
        rows = {True: [], False: []}
        for option in options:
            field = self.fields[option.name]
            rows[option.asked].append((field.label, field.widget))
        self.versions = None
        if model and len(model.versions) > 1:
            self.versions = qt.QComboBox()
            fill(self.versions, [_("newest"), *model.versions])
            rows[False].append((_("Weights:"), self.versions))
        panel.conditions.fill(rows[True])
        panel.settings.fill(rows[False])
        panel.conditionsSection.visible = bool(rows[True])
        panel.settingsSection.visible = bool(rows[False])
        panel.description.text = model.help() if model else _("Connect to a server to see what it can do.")
        takes = "labels" if model and model.takes_labels else "scan" if model and model.takes_images else ""
        panel.inputLabel.visible = panel.input.visible = takes == "scan"
        panel.labelsLabel.visible = panel.labels.visible = takes == "labels"
        alone = bool(model) and model.takes_images and not model.needs_images
        panel.input.noneEnabled = panel.labels.noneEnabled = alone
        if alone and takes == "labels":  # what it makes has labels, which it would work on ever after
            panel.labels.setCurrentNode(None)
        panel.sampleButton.visible = bool(takes)
        panel.nextSeed.visible = "seed" in self.fields
        panel.runButton.text = _(model.verb) if model else _("Run")
        panel.batchButton.text = _("{verb} every study").format(verb=panel.runButton.text)
        self.showBusy()

    def onInput(self, *_args) -> None:
        """A scan was chosen."""
        self.showBusy()

    @property
    def version(self) -> str:
        """The chosen weights; "" for the newest."""
        return self.versions.currentText if self.versions and self.versions.currentIndex > 0 else ""

    def values(self) -> dict:
        """What the fields request.

        Raises:
            ZooError: what was typed is refused.
        """
        return {name: field.value() for name, field in self.fields.items()}

    @property
    def inputNode(self):
        """The scan, or the labels, that the model shall work on; None for a generator."""
        if self.model is None or not self.model.takes_images:
            return None
        return (self.panel.labels if self.model.takes_labels else self.panel.input).currentNode()

    def onSample(self) -> None:
        """Load an example of what the model takes, and choose it as input."""
        if self.model is not None:
            self.open(lambda: self.logic.open_sample(self.model.name))

    # --- a request -----------------------------------------------------------------------------------------------

    def onRun(self) -> None:
        """Send the request that the panel shows."""
        try:
            if self.model is None:
                raise ZooError(_("Connect to a server first."))
            keep = bool(self.panel.keep.checked)
            self.logic.start(self.model.name, self.values(), self.inputNode, keep, self.version)
        except ZooError as error:
            self.tell(error)
        else:
            self.timer.start()
        self.showBusy()

    def onCancel(self) -> None:
        """Take the request back."""
        self.logic.cancel()
        self.panel.status.text = _("Cancelling")

    def onTick(self) -> None:
        """Let the threads of what is on its way run, show how far they are, and take what they bring."""
        if self.logic.run is not None:
            self.tickRun()
        if self.logic.batch is not None:
            self.tickBatch()
        if self.logic.run is None and self.logic.batch is None:
            self.timer.stop()

    def tickRun(self) -> None:
        """The request."""
        run = self.logic.run
        progress = run.tick(LET_THREADS_RUN_S)
        self.panel.status.text = progress.text
        show_progress(self.panel.progress, progress.fraction)
        if not run.finished:
            return
        self.showBusy()
        try:
            with waiting():
                shown = self.logic.finish()
        except ZooError as error:
            self.tell(error)
        else:
            self.results.take(shown)
            self.panel.status.text = " ".join([progress.text + ".", *shown[0].missing])
            if self.panel.nextSeed.checked and "seed" in self.fields:
                self.fields["seed"].set_value(self.fields["seed"].value() + len(shown))
            if self.panel.keep.checked:
                self.onRefresh()
        finally:
            self.showBusy()

    def showBusy(self) -> None:
        """Which buttons can be pressed now."""
        busy, panel = self.logic.busy, self.panel
        ready = self.model is not None and (not self.model.needs_images or self.inputNode is not None)
        panel.runButton.enabled = ready and not busy
        panel.runButton.toolTip = (
            _("Send the request.") if ready else _("Connect, and choose an input where one is needed, or Sample data.")
        )
        panel.cancelButton.enabled = busy
        panel.progress.visible = busy
        panel.task.enabled = panel.model.enabled = panel.sampleButton.enabled = not busy
        working = self.logic.batch is not None
        panel.connectButton.enabled = not busy and not working
        panel.batchButton.enabled = self.model is not None and self.model.takes_images and not working
        panel.batchButton.toolTip = _(
            "The model, with the settings above, over every study of the server. What is done already is skipped; it "
            "goes on when Slicer is closed."
        )
        panel.stopBatchButton.enabled = panel.batchProgress.visible = working

    # --- the server's studies ------------------------------------------------------------------------------------

    def onBatch(self) -> None:
        """Run the model over every study of the server."""
        try:
            if self.model is None:
                raise ZooError(_("Connect to a server first."))
            self.logic.start_batch(self.model.name, self.values(), self.version)
        except ZooError as error:
            self.tell(error, self.panel.batchStatus)
        else:
            self.timer.start()
        self.showBusy()

    def onStopBatch(self) -> None:
        """Stop it on the server; what is done stays."""
        if self.logic.batch is not None:
            self.logic.batch.cancel()
            self.panel.batchStatus.text = _("Stopping")

    def tickBatch(self) -> None:
        """The batch: how far it is, and what it has done in the end."""
        batch = self.logic.batch
        progress = batch.tick(LET_THREADS_RUN_S)
        self.panel.batchStatus.text = progress.text
        show_progress(self.panel.batchProgress, progress.fraction)
        if not batch.finished:
            return
        self.showBusy()
        try:
            tally = self.logic.finish_batch()
        except ZooError as error:
            self.tell(error, self.panel.batchStatus)
            if isinstance(error, Cancelled):
                self.onRefresh()
        else:
            self.onRefresh()
            if tally.failed:
                self.tell(ZooError(tally.complaint()), self.panel.batchStatus)
        finally:
            self.showBusy()

    def onRefresh(self) -> None:
        """Read the list of studies."""
        try:
            found = self.logic.studies()
        except ZooError as error:
            self.tell(error)
            return
        self.studyNames = [study for study, _line in found]
        fill(self.panel.studies, [line for _study, line in found])

    def onOpen(self) -> None:
        """Open the chosen study."""
        number = self.panel.studies.currentIndex
        if 0 <= number < len(self.studyNames):
            self.open(lambda: self.logic.open_study(self.studyNames[number]))

    def onOpenWorst(self) -> None:
        """Open the scan that the maps find most anomalous."""
        self.open(self.logic.open_worst)

    def open(self, load) -> None:
        """Open a study or a sample and choose it as input."""
        try:
            with waiting():
                shown = load()
        except ZooError as error:
            self.tell(error)
            return
        self.results.take([shown])
        if shown.volume is not None:
            self.panel.input.setCurrentNode(shown.volume)
        else:
            self.panel.labels.setCurrentNode(shown.segmentation)
        self.showBusy()
        self.panel.status.text = _("Opened {name}.").format(name=shown.name)


class SynthZooTest(ScriptedLoadableModuleTest):
    """Slicer's *Reload and Test*: the scene tests of `Testing/Python`, on the scene of the application."""

    def runTest(self) -> None:
        """Run them all."""
        import unittest

        folder = os.path.join(os.path.dirname(__file__), "Testing", "Python")
        if folder not in sys.path:
            sys.path.insert(0, folder)
        import SynthZooSceneTest

        slicer.mrmlScene.Clear()
        tests = unittest.defaultTestLoader.loadTestsFromModule(SynthZooSceneTest)
        outcome = unittest.TextTestRunner(verbosity=2).run(tests)
        if not outcome.wasSuccessful():
            raise AssertionError(f"{len(outcome.failures) + len(outcome.errors)} scene tests failed")
