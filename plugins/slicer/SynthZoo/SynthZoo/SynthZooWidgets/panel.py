"""The panel's fixed parts: sections, rows and buttons. What the server decides is filled in by the module's widget."""

from __future__ import annotations

from contextlib import contextmanager

import ctk
import qt
import slicer
from slicer.i18n import tr as _


class Panel:
    """All widgets of the panel as attributes.

    Args:
        layout: of the module.
    """

    def __init__(self, layout):
        self.layout = layout
        self._server()
        self._task()
        self._run()
        self._result()
        self._studies()
        layout.addStretch(1)

    # --- sections ------------------------------------------------------------------------------------------------

    def section(self, title: str, collapsed: bool = False):
        """A collapsible section with a form; gives the form."""
        button = ctk.ctkCollapsibleButton()
        button.text = title
        self.layout.addWidget(button)
        form = qt.QFormLayout(button)
        button.collapsed = collapsed
        return button, form

    def _server(self) -> None:
        self.serverSection, form = self.section(_("Server"))
        self.url = qt.QLineEdit()
        self.url.toolTip = _("Address of the SynthZoo server, such as http://127.0.0.1:8000")
        self.connectButton = button(_("Connect"), _("Read the models that the server has."))
        form.addRow(_("Address:"), row(self.url, self.connectButton))
        self.serverStatus = text()
        form.addRow(self.serverStatus)

    def _task(self) -> None:
        self.taskSection, form = self.section(_("What to do"))
        self.task, self.model = qt.QComboBox(), qt.QComboBox()
        form.addRow(_("Task:"), self.task)
        form.addRow(_("Model:"), self.model)
        self.description = text()
        form.addRow(self.description)
        self.input = node_box(["vtkMRMLScalarVolumeNode", "vtkMRMLVectorVolumeNode"])
        self.input.toolTip = _("The scan, photograph or video that the model works on; it is sent to the server.")
        self.inputLabel = qt.QLabel(_("Input:"))
        form.addRow(self.inputLabel, self.input)
        self.labels = node_box(["vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode"])
        self.labels.toolTip = _("The segmentation or label map that the model works on; it is sent to the server.")
        self.labelsLabel = qt.QLabel(_("Labels:"))
        form.addRow(self.labelsLabel, self.labels)
        self.sampleButton = button(
            _("Sample data"), _("Load a phantom of the kind that the model takes; press again for another one.")
        )
        form.addRow("", self.sampleButton)
        # The fields of a model come and go with it.
        self.conditionsSection, form = self.section(_("Conditions"))
        self.conditions = Holder(form)
        self.settingsSection, form = self.section(_("Settings"), collapsed=True)
        self.settings = Holder(form)

    def _run(self) -> None:
        self.keep = qt.QCheckBox(_("Keep results on the server"))
        self.keep.checked = True
        self.keep.toolTip = _("Images become studies of the server, maps become labels of their study.")
        self.nextSeed = qt.QCheckBox(_("Another seed each time"))
        self.nextSeed.toolTip = _("After each run the seed goes up, so that the next image is another one.")
        self.layout.addWidget(row(self.keep, self.nextSeed))
        self.runButton = button(_("Run"), "")
        self.cancelButton = button(_("Cancel"), _("Take the request back; the server stops at its next step."))
        self.layout.addWidget(row(self.runButton, self.cancelButton))
        self.progress = progress_bar()
        self.layout.addWidget(self.progress)
        self.status = text()
        self.layout.addWidget(self.status)

    def _result(self) -> None:
        self.resultSection, form = self.section(_("Result"))
        self.results = qt.QComboBox()
        self.resultsLabel = qt.QLabel(_("Result:"))
        form.addRow(self.resultsLabel, self.results)
        self.facts = text()
        form.addRow(self.facts)
        self.opacity = slider(0.0, 1.0, 0.05, 2, _("How much of the map, or of the new image, covers the scan."))
        self.opacityLabel = qt.QLabel(_("Opacity:"))
        form.addRow(self.opacityLabel, self.opacity)
        self.threshold = slider(
            0.0, 1.0, 0.01, 2, _("What is below is clear. The regions keep the server's threshold.")
        )
        self.thresholdLabel = qt.QLabel(_("Threshold:"))
        form.addRow(self.thresholdLabel, self.threshold)
        self.worstButton = button(_("Jump to the worst region"), _("Bring the slices to the map's highest peak."))
        form.addRow(self.worstButton)
        self.regions = qt.QListWidget()
        self.regions.setMaximumHeight(110)
        self.regions.toolTip = _(
            "The regions, the worst first; click one to go there. Or classes, the likeliest first."
        )
        form.addRow(self.regions)
        self.frame = slider(0, 1, 1, 0, _("Frame of the video."))
        self.playButton = button(_("Play"), _("Play or pause the video, as fast as it was taken."))
        self.playButton.checkable = True
        self.frameLabel = qt.QLabel(_("Frame:"))
        self.frameRow = row(self.frame, self.playButton)
        form.addRow(self.frameLabel, self.frameRow)

    def _studies(self) -> None:
        self.studiesSection, form = self.section(_("Studies on the server"), collapsed=True)
        self.studies = qt.QComboBox()
        self.studies.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        self.refreshButton = button(_("Refresh"), _("Read the list again."))
        form.addRow(row(self.studies, self.refreshButton))
        self.openButton = button(_("Open"), _("Load the study with its labels and its map."))
        self.openWorstButton = button(
            _("Open the most anomalous"), _("The scan with the highest score that has no final label yet.")
        )
        form.addRow(row(self.openButton, self.openWorstButton))
        self.batchButton = button(_("Run on every study"), "")
        self.stopBatchButton = button(_("Stop"), _("The server stops at its next step; what is done stays."))
        form.addRow(row(self.batchButton, self.stopBatchButton))
        self.batchProgress = progress_bar()
        form.addRow(self.batchProgress)
        self.batchStatus = text()
        form.addRow(self.batchStatus)


@contextmanager
def waiting():
    """The waiting cursor while the block runs."""
    qt.QApplication.setOverrideCursor(qt.QCursor(qt.Qt.WaitCursor))
    try:
        yield
    finally:
        qt.QApplication.restoreOverrideCursor()


class Holder:
    """A place in a form for fields that come and go.

    Args:
        form: layout that gets one row.
    """

    def __init__(self, form):
        place = qt.QWidget()
        form.addRow(place)
        self.layout = qt.QVBoxLayout(place)
        self.layout.setContentsMargins(0, 0, 0, 0)
        self.inner = None

    def fill(self, rows) -> None:
        """Take the old fields away and show (label, widget) rows."""
        if self.inner is not None:
            self.layout.removeWidget(self.inner)
            self.inner.setParent(None)
            self.inner.deleteLater()
        self.inner = qt.QWidget()
        form = qt.QFormLayout(self.inner)
        form.setContentsMargins(0, 0, 0, 0)
        for label, widget in rows:
            form.addRow(label, widget)
        self.layout.addWidget(self.inner)


def fill(box, lines, choose: bool = True) -> None:
    """Show other lines in a list and choose the first one, without a word to those who listen."""
    before = box.blockSignals(True)
    box.clear()
    for line in lines:
        box.addItem(line)
    if box.count and choose:
        box.setCurrentIndex(0)
    box.blockSignals(before)


def button(title: str, tip: str):
    """A push button with a tool tip."""
    made = qt.QPushButton(title)
    made.toolTip = tip
    return made


def text():
    """A label whose text wraps and can be copied."""
    made = qt.QLabel()
    made.wordWrap = True
    made.setTextInteractionFlags(qt.Qt.TextSelectableByMouse)
    return made


def progress_bar():
    """A bar; what it stands for is written beside it."""
    made = qt.QProgressBar()
    made.setTextVisible(False)
    return made


def show_progress(bar, fraction) -> None:
    """A fraction from 0 to 1 on a bar, or that nobody knows."""
    bar.setRange(0, 0 if fraction is None else 100)
    if fraction is not None:
        bar.setValue(round(100 * fraction))


def slider(low: float, high: float, step: float, decimals: int, tip: str):
    """A slider with its number."""
    made = ctk.ctkSliderWidget()
    made.decimals = decimals
    made.minimum, made.maximum = low, high
    made.singleStep = step
    made.toolTip = tip
    return made


def node_box(kinds: list):
    """A list of the scene's nodes of some classes."""
    made = slicer.qMRMLNodeComboBox()
    made.nodeTypes = kinds
    made.showChildNodeTypes = made.noneEnabled = False
    made.addEnabled = made.removeEnabled = made.renameEnabled = False
    made.selectNodeUponCreation = False
    made.setMRMLScene(slicer.mrmlScene)
    return made


def row(*widgets):
    """Widgets beside each other; the first one takes the room."""
    made = qt.QWidget()
    layout = qt.QHBoxLayout(made)
    layout.setContentsMargins(0, 0, 0, 0)
    for number, widget in enumerate(widgets):
        layout.addWidget(widget, 0 if number else 1)
    return made
