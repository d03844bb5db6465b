"""The panel's Result section: which result, how opaque, from which threshold on, where the regions are, which frame."""

from __future__ import annotations

import slicer
from SynthZooLib import heat, slices
from SynthZooLib.show import facts, show_case

from .panel import fill


class ResultView:
    """The results of the last request.

    Args:
        panel: `SynthZooWidgets.panel.Panel`.
        scene: that holds their nodes.
    """

    def __init__(self, panel, scene):
        self.panel, self.scene, self.shown = panel, scene, []
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
        self.shown = shown
        fill(self.panel.results, [item.title for item in shown])
        if shown and shown[0].source is None and shown[0].background is not None:
            views = slicer.app.applicationLogic()
            (getattr(views, "FitSliceToContent", None) or views.FitSliceToAll)()
        self.refresh()

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
        over = mapped or (item.source is not None and item.volume is not None)
        panel.results.visible = panel.resultsLabel.visible = len(self.shown) > 1
        panel.facts.text = facts(item)
        panel.opacity.visible = panel.opacityLabel.visible = over
        for widget in (panel.threshold, panel.thresholdLabel, panel.worstButton, panel.regions):
            widget.visible = mapped
        panel.frameLabel.visible = panel.frameRow.visible = plays
        if over:
            panel.opacity.value = heat.OPACITY if mapped else 1.0
        fill(panel.regions, [region.text() for region in item.regions], choose=False)
        if mapped:
            panel.threshold.value = heat.threshold_of(item.sidecar)
            panel.worstButton.enabled = bool(item.regions)
        if plays:
            panel.frame.maximum = item.browser.GetNumberOfItems() - 1
            panel.frame.value = item.browser.GetSelectedItemNumber()

    def onResult(self, *_args) -> None:
        """Another result of the same request."""
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
        """To a frame of the cine."""
        if self.result is not None and self.result.browser is not None:
            self.result.browser.SetSelectedItemNumber(round(value))

    def onPlay(self, checked: bool) -> None:
        """Play or stop the cine."""
        if self.result is not None and self.result.browser is not None:
            self.result.browser.SetPlaybackActive(bool(checked))
