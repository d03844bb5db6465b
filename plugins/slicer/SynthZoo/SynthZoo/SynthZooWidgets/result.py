"""The panel's Result section: which result, how opaque, from which threshold on, where the regions are, which frame."""

from __future__ import annotations

import time

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin
from SynthZooLib import heat, layout, slices
from SynthZooLib.scores import lines_of
from SynthZooLib.show import facts, show_case

from .panel import fill

CLOCK_MS = 10


class ResultView(VTKObservationMixin):
    """The results of the last request, or a study or sample that was opened.

    Args:
        panel: `SynthZooWidgets.panel.Panel`.
        scene: that holds their nodes.
    """

    def __init__(self, panel, scene):
        VTKObservationMixin.__init__(self)
        self.panel, self.scene, self.shown = panel, scene, []
        self.clock, self.began = qt.QTimer(), 0.0
        self.clock.setInterval(CLOCK_MS)
        self.clock.connect("timeout()", self.onClock)
        panel.results.connect("currentIndexChanged(int)", self.onResult)
        panel.opacity.connect("valueChanged(double)", self.onOpacity)
        panel.threshold.connect("valueChanged(double)", self.onThreshold)
        panel.worstButton.connect("clicked()", self.onWorst)
        panel.regions.connect("currentRowChanged(int)", self.onRegion)
        panel.frame.connect("valueChanged(double)", self.onFrame)
        panel.playButton.connect("toggled(bool)", self.onPlay)
        self.refresh()

    def take(self, shown: list) -> None:
        """Show new results in the panel; the first one is in the slices already. An empty list clears the section."""
        self.stop()
        flat = any(layout.is_flat(item.background) for item in [*self.shown, *shown])
        self.shown = shown
        fill(self.panel.results, [item.title for item in shown])
        if shown and (shown[0].source is None or flat):
            fit()
            qt.QTimer.singleShot(0, fit)  # once more, when a view of another layout has its size
        self.refresh()

    def stop(self) -> None:
        """Let no video play any more that the section is about to leave."""
        self.removeObservers()
        self.panel.playButton.checked = False

    @property
    def result(self):
        """The chosen result; None when there is none, or when its nodes were removed."""
        number = self.panel.results.currentIndex
        item = self.shown[number] if 0 <= number < len(self.shown) else None
        return item if item and all(self.scene.IsNodePresent(node) for node in item.nodes()) else None

    def refresh(self) -> None:
        """Fill the section for the chosen result."""
        item, panel = self.result, self.panel
        panel.resultSection.visible = item is not None
        if item is None:
            return
        mapped, plays = item.heat is not None, item.browser is not None
        over = mapped or item.over_source
        panel.results.visible = panel.resultsLabel.visible = len(self.shown) > 1
        panel.facts.text = facts(item)
        panel.opacity.visible = panel.opacityLabel.visible = over
        for widget in (panel.threshold, panel.thresholdLabel, panel.worstButton):
            widget.visible = mapped
        panel.regions.visible = mapped or bool(item.scores)
        panel.frameLabel.visible = panel.frameRow.visible = plays
        if over:
            panel.opacity.value = heat.OPACITY if mapped else 1.0
        lines = [region.text() for region in item.regions] if mapped else lines_of(item.scores)
        fill(panel.regions, lines, choose=False)
        if mapped:
            panel.threshold.value = heat.threshold_of(item.sidecar)
            panel.worstButton.enabled = bool(item.regions)
        if plays:
            panel.frame.maximum = item.browser.GetNumberOfItems() - 1
            panel.frame.toolTip = _("Frame of the video, {fps:g} a second.").format(
                fps=item.browser.GetPlaybackRateFps()
            )
            self.follow(item.browser)
            show_in_toolbar(item.browser)

    def follow(self, browser) -> None:
        """Let the slider show where the video is, whoever plays it, such as Slicer's toolbar of sequences."""
        self.removeObservers()
        self.addObserver(browser, vtk.vtkCommand.ModifiedEvent, self.onBrowser)
        self.onBrowser(browser)

    def onBrowser(self, browser, _event=None) -> None:
        """The video went on."""
        self.panel.frame.value = browser.GetSelectedItemNumber()

    def onResult(self, *_args) -> None:
        """Another result of the same request."""
        self.stop()
        if self.result is not None:
            show_case(self.scene, self.result)
        self.refresh()

    def onOpacity(self, value: float) -> None:
        """How much the foreground covers."""
        if self.result is not None:
            slices.show_layers(self.scene, opacity=value)

    def onThreshold(self, value: float) -> None:
        """What of the map is clear."""
        if self.result is not None and self.result.heat is not None:
            heat.set_threshold(self.result.heat, value)

    def onWorst(self) -> None:
        """To the worst region, the first one of the list."""
        self.onRegion(0)

    def onRegion(self, number: int) -> None:
        """To a region of the list."""
        if self.result is not None and 0 <= number < len(self.result.regions):
            slices.jump(self.scene, self.result.regions[number].at)

    def onFrame(self, value: float) -> None:
        """To a frame of the video."""
        if self.result is not None and self.result.browser is not None:
            self.result.browser.SetSelectedItemNumber(round(value))

    def onPlay(self, checked: bool) -> None:
        """Play or pause the video."""
        playing = bool(checked) and self.result is not None and self.result.browser is not None
        self.panel.playButton.text = _("Pause") if playing else _("Play")
        self.clock.stop()
        if playing:
            self.result.browser.SetPlaybackActive(False)
            self.began = time.monotonic()
            self.clock.start()

    def onClock(self) -> None:
        """Bring the video to the frame of this moment.

        Slicer's own playback rounds to its timer of 20 ms, so that 16 frames a second would go by as 25.
        """
        if self.result is None or self.result.browser is None:
            self.panel.playButton.checked = False
            return
        browser = self.result.browser
        passed = int((time.monotonic() - self.began) * browser.GetPlaybackRateFps())
        if passed:
            self.began += passed / browser.GetPlaybackRateFps()
            browser.SetSelectedItemNumber((browser.GetSelectedItemNumber() + passed) % browser.GetNumberOfItems())


def fit() -> None:
    """Fit the slice views to what they show."""
    views = slicer.app.applicationLogic()
    (getattr(views, "FitSliceToContent", None) or views.FitSliceToAll)()


def show_in_toolbar(browser) -> None:
    """Give a video to Slicer's own toolbar of sequences, with its buttons for one frame back, record and speed."""
    sequences = getattr(slicer.modules, "sequences", None)
    if hasattr(sequences, "showSequenceBrowser"):
        sequences.showSequenceBrowser(browser)
