"""Slicer's views on a page: three slices and 3D, one large view of what is flat, or two images side by side."""

from __future__ import annotations

import os

# Without a screen VTK would look for one first. What a user has set is kept.
if not os.environ.get("DISPLAY"):
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkOSOpenGLRenderWindow")

import slicer
import slicer.util  # SynthZooLib takes it for granted, as Slicer has it
from SynthZooLib import heat, layout
from SynthZooLib.answer import Case
from SynthZooLib.errors import ZooError
from SynthZooLib.labels import show_as_outlines
from SynthZooLib.models import Model
from SynthZooLib.show import Shown, load_case
from SynthZooLib.slices import jump, nodes_of
from trame_slicer.core import LayoutManager, SlicerApp
from trame_slicer.rca_view import register_rca_factories
from trame_slicer.views import Layout, LayoutDirection, ViewLayoutDefinition, ViewProps, ViewType
from vtkmodules.vtkCommonCore import vtkObject

from plugins.web.volume_rendering import render_volume

FOUR, PAIR = "four", "pair"  # what a reader chooses: one study, or two side by side
ONE, TWO = "one", "two"  # what they become for 2D images and videos
LEFT, RIGHT = 0, 1  # view groups
SIDES = ("Left", "Right")
FILL = 0.25  # opacity of labels
COLOURS = {"Axial": "#F34A33", "Coronal": "#6DAD4A", "Sagittal": "#EFD64D"}
CPU_RAY_CAST = "vtkMRMLCPURayCastVolumeRenderingDisplayNode"


def slice_view(orientation: str, group: int) -> ViewLayoutDefinition:
    """A slice view named as on the page, such as `AxialLeft`."""
    name = orientation + SIDES[group]
    props = ViewProps(label=name, orientation=orientation, color=COLOURS[orientation], group=group)
    return ViewLayoutDefinition(name, ViewType.SLICE_VIEW, props)


def layouts() -> dict[str, Layout]:
    """`four`: axial, 3D, coronal, sagittal; `pair`: axial and coronal of two; `one` and `two`: a large view each."""
    axial, coronal, sagittal = (slice_view(name, LEFT) for name in COLOURS)
    three = ViewLayoutDefinition.threed_view(background_color=("#101820", "#2a3a4a"))
    columns = LayoutDirection.Horizontal, LayoutDirection.Vertical
    return {
        FOUR: Layout(columns[0], [Layout(columns[1], [axial, coronal]), Layout(columns[1], [three, sagittal])]),
        PAIR: Layout(
            columns[0],
            [
                Layout(columns[1], [axial, coronal]),
                Layout(columns[1], [slice_view("Axial", RIGHT), slice_view("Coronal", RIGHT)]),
            ],
        ),
        ONE: Layout(columns[0], [axial]),
        TWO: Layout(columns[0], [axial, slice_view("Axial", RIGHT)]),
    }


class Views:
    """The views over one scene.

    Args:
        server: the trame server whose page holds them.
    """

    def __init__(self, server):
        self.app = SlicerApp()
        self.scene = self.app.scene
        # On a machine without a GPU the ray caster for GPUs takes seconds a frame, this one a tenth.
        self.app.volume_rendering._logic.SetDefaultRenderingMethod(CPU_RAY_CAST)
        register_rca_factories(self.app.view_manager, server)
        self.layout = LayoutManager(self.scene, self.app.view_manager, server)
        vtkObject.GlobalWarningDisplayOff()  # each view would tell of an event that VTK will drop one day
        self.layout.register_layout_dict(layouts())
        vtkObject.GlobalWarningDisplayOn()
        self.chosen = FOUR
        self.layout.set_layout(FOUR)
        self.shown: dict[int, Shown] = {}
        self.map = 0
        for view in self.app.view_manager.get_views():
            # Software rendering loses translucent surfaces with more than one sample a pixel.
            view.render_window().SetMultiSamples(0)
            view.renderer().SetUseDepthPeeling(False)
        self.unfitted: set[str] = set()
        for group in (LEFT, RIGHT):
            for view in self.slices(group):
                resized = "WindowResizeEvent"
                view.render_window().AddObserver(resized, lambda *_, at=group, one=view: self._resized(one, at))
        for left in self.slices(LEFT):
            for right in self.slices(RIGHT):
                if left.get_orientation() == right.get_orientation():
                    self._link(left, right)

    def slices(self, group: int | None = None) -> list:
        """The slice views of a group, or all."""
        return self.app.view_manager.get_slice_views(group)

    def show(self, case: Case, group: int = LEFT, outputs: dict | None = None) -> Shown:
        """Put a study into the views of a group in place of what was there.

        Args:
            case: the study; its files have to be here.
            group: `LEFT` or `RIGHT`.
            outputs: what the model that made it states of its outputs, such as a window or the time of a frame.

        Raises:
            ZooError: a file cannot be read.
        """
        made = load_case(self.scene, case, Model(case.name, case.name, "", False, outputs=outputs or {}))
        if made.background is None and made.heat is None:
            for node in made.nodes():
                self.scene.RemoveNode(node)
            raise ZooError(" ".join(made.missing) or f"{case.name} has no image to show.")
        self.close(group)
        for crosshair in nodes_of(self.scene, "vtkMRMLCrosshairNode"):
            crosshair.SetCrosshairMode(slicer.vtkMRMLCrosshairNode.NoCrosshair)  # it marked a point of another study
        self.shown[group] = made
        for node in made.maps:
            heat.show(self.scene, node, threshold=heat.threshold_of(made.sidecar) if node is made.heat else 0.0)
        for number, shown in self.shown.items():
            self._set_layers(shown, number)
        has_regions = made.segmentation is not None and made.segmentation.GetSegmentation().GetNumberOfSegments() > 0
        if has_regions:
            show_as_outlines(made.segmentation, FILL if made.heat is None else 0.0)  # a fill would hide the map
            made.segmentation.CreateClosedSurfaceRepresentation()
            self.app.display_manager.set_node_visible_in_group(made.segmentation, group)
        if group == LEFT:
            solid = None if self.is_flat(group) else made.background
            render_volume(self.app, solid, behind=has_regions)
        self._arrange()
        return made

    def is_flat(self, group: int = LEFT) -> bool:
        """Whether a group shows a 2D image or a video."""
        shown = self.shown.get(group)
        return shown is not None and layout.is_flat(shown.background if shown.background is not None else shown.heat)

    def _arrange(self) -> None:
        """Take the layout that was chosen, with one large view for what is flat."""
        flat = {FOUR: ONE, PAIR: TWO}
        self.layout.set_layout(flat[self.chosen] if self.is_flat() else self.chosen)

    def _set_layers(self, shown: Shown, group: int) -> None:
        back = shown.background if shown.background is not None else shown.heat
        self.app.display_manager.show_volume_in_slice_background(back, group)
        front = shown.maps[self.map] if self.map < len(shown.maps) else shown.heat
        self.app.display_manager.show_volume_in_slice_foreground(front, group)

    def close(self, group: int) -> None:
        """Take what a group shows out of the scene."""
        shown = self.shown.pop(group, None)
        for node in shown.nodes() if shown else ():
            self.scene.RemoveNode(node)

    def adjust_map(self, opacity: float, threshold: float) -> None:
        """Opacity in [0, 1] of the maps, and the value below which they are clear."""
        for shown in self.shown.values():
            if shown.heat is not None:
                heat.set_threshold(shown.heat, threshold)
        for view in self.slices():
            view.set_foreground_opacity(opacity)

    def choose_map(self, number: int) -> None:
        """Which of a study's maps lies in front: 0 is the anomaly map; a study without that one shows its first."""
        self.map = number
        for group, shown in self.shown.items():
            self._set_layers(shown, group)

    def videos(self) -> list[Shown]:
        """The videos that are to be seen, the left one first."""
        groups = (LEFT,) if self.chosen == FOUR else (LEFT, RIGHT)
        found = [self.shown[group] for group in groups if group in self.shown]
        return [shown for shown in found if shown.browser is not None]

    def frames(self) -> int:
        """How many frames the first video has; 0 where there is none."""
        return next((frames_of(shown) for shown in self.videos()), 0)

    def rate(self) -> float:
        """Frames a second of the first video; 0 where there is none."""
        return next((shown.browser.GetPlaybackRateFps() for shown in self.videos()), 0.0)

    def set_frame(self, number: int) -> None:
        """Show a frame of the first video, and of the one beside it what it shows at that time."""
        for shown in self.videos():
            at = int(number * shown.browser.GetPlaybackRateFps() / self.rate() + 1e-6) % frames_of(shown)
            frame = shown.browser.GetMasterSequenceNode().GetNthDataNode(at)
            shown.volume.SetAndObserveImageData(frame.GetImageData())

    def jump(self, place) -> None:
        """Bring the slices to a point, R, A, S in mm."""
        jump(self.scene, place)

    def set_layout(self, name: str) -> None:
        """`four` (one study) or `pair` (two); see `layouts`."""
        self.chosen = name
        self._arrange()
        self.reset()

    def reset(self) -> None:
        """Fit every view to what it shows."""
        self.app.display_manager.reset_views()
        for group in self.shown:
            for view in self.slices(group):
                self._fit(view, group)
        self.unfitted = {view.get_singleton_tag() for view in self.slices()}

    def _resized(self, view, group: int) -> None:
        """Fit a flat image always; a volume once after a reset, since the browser tells a view's new size later."""
        if group in self.shown and (self.is_flat(group) or view.get_singleton_tag() in self.unfitted):
            self.unfitted.discard(view.get_singleton_tag())
            self._fit(view, group)

    def _fit(self, view, group: int) -> None:
        """Fit a view, turned to what it shows where that is flat."""
        if not self.is_flat(group):
            view.fit_view_to_content()
            return
        image = self.shown[group].background or self.shown[group].heat
        layout.face(view.get_view_node(), image)
        view.fit_view_to_content()
        layout.face(view.get_view_node(), image)  # the fit rounds its way to a slice past a flat image

    def _link(self, left, right) -> None:
        """Let the two views of volumes show the same position."""

        def follow(mover, follower):
            value = mover.get_slice_value()
            if self.is_flat(LEFT) or self.is_flat(RIGHT):
                return
            if abs(value - follower.get_slice_value()) > 1e-6:
                follower.set_slice_value(value)

        left.modified.connect(lambda *_: follow(left, right))
        right.modified.connect(lambda *_: follow(right, left))


def frames_of(shown: Shown) -> int:
    """How many frames a video has."""
    return shown.browser.GetMasterSequenceNode().GetNumberOfDataNodes()
