"""From an answer to the scene: every output becomes the node that a reader expects, and the first result is shown."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from . import heat, labels, layout, pictures, scores, sequences, slices, videos, volumes
from .answer import Answer, Case
from .errors import ZooError
from .models import Model
from .png import is_picture

FILL = 0.25  # of labels
# How outputs are shown, in the order in which they are read: labels lie on the grid of what is behind them.
VIEWS = ("image", "video", "overlay", "labels", "scores", "text")


@dataclass
class Shown:
    """The nodes of one result; what it did not have is None.

    Args:
        name: of the result.
        sidecar: beside it.
        source: the volume that it was made from.
        volume: a synthetic or translated image, or the volume that plays a video.
        heat: an anomaly map.
        further: other maps, such as a confidence map; they are in the scene and in no view.
        segmentation: a label map.
        browser: of a video.
        regions: of the map, the worst first.
        scores: (class, probability), the likeliest first.
        texts: tables, as text nodes.
        missing: one sentence per output that could not be shown.
    """

    name: str
    sidecar: dict
    source: object = None
    volume: object = None
    heat: object = None
    further: list = field(default_factory=list)
    segmentation: object = None
    browser: object = None
    regions: list = field(default_factory=list)
    scores: list = field(default_factory=list)
    texts: list = field(default_factory=list)
    missing: list = field(default_factory=list)

    @property
    def background(self):
        """What lies behind: the new image, or the scan that the map belongs to."""
        return self.volume if self.volume is not None else self.source

    @property
    def over_source(self) -> bool:
        """Whether it is a new image that lies over the one that it was made from."""
        return self.volume is not None and self.source is not None and self.browser is None

    @property
    def maps(self) -> list:
        """The maps, the anomaly map first."""
        return ([] if self.heat is None else [self.heat]) + self.further

    @property
    def title(self) -> str:
        """Its line in the list of results: the name of its first node."""
        nodes = self.nodes()
        return nodes[0].GetName() if nodes else self.name

    def nodes(self) -> list:
        """All nodes that were made."""
        found = (self.volume, self.heat, *self.further, self.segmentation, self.browser, *self.texts)
        return [node for node in found if node is not None]


def show_answer(scene, answer: Answer, model: Model, source=None) -> list[Shown]:
    """Bring every result into the scene and show the first one.

    Args:
        scene: where to.
        answer: unpacked; its files may be removed afterwards.
        model: that was requested; says what the outputs are.
        source: volume node that the request was made from.

    Raises:
        ZooError: there is no result, or none of its files can be shown.
    """
    made = [load_case(scene, case, model, source) for case in answer.cases]
    if not made or not any(item.nodes() for item in made):
        reasons = " ".join(reason for item in made for reason in item.missing)
        raise ZooError(f"{model.title} gave nothing that can be shown. {reasons}".strip())
    show_case(scene, made[0])
    return made


def load_case(scene, case: Case, model: Model, source=None) -> Shown:
    """The nodes of one result, not yet in the slice views."""
    made = Shown(case.name, case.sidecar, source)
    label_voxels = None
    names = names_of(case, model, source)
    views = {kind: model.view_of(kind) for kind in case.outputs}
    for kind in in_order(case.outputs, views, model):
        output, stated = case.outputs[kind], model.outputs.get(kind) or {}
        try:
            if views[kind] in ("image", "video"):
                frame_ms = case.sidecar.get("frame_ms") or stated.get("frame_ms")
                window = stated.get("window")
                made.volume, made.browser = read_image(
                    scene, output.path, names[kind], model.modality, frame_ms, window
                )
            elif views[kind] == "overlay":
                found = pictures.read_map(scene, output.path, names[kind], made.background)
                if made.heat is None:
                    made.heat = found
                else:
                    made.further.append(found)
            elif views[kind] == "labels":
                reference = made.volume or made.heat or (source if is_picture(output.path) else None)
                made.segmentation, label_voxels = labels.read_segmentation(
                    scene, output.path, names[kind], output.names, reference, stated.get("colors")
                )
            elif views[kind] == "scores":
                made.texts.append(read_text(scene, output.path, names[kind]))
                made.scores = scores.read_scores(made.texts[-1].GetText(), output.path)
            elif views[kind] == "text":
                made.texts.append(read_text(scene, output.path, names[kind]))
            else:
                raise ZooError(f"This extension cannot show {model.title_of(kind)} as {views[kind]}: update it.")
        except ZooError as error:
            made.missing.append(str(error))
    if made.heat is not None:
        made.regions = heat.regions(made.heat, case.sidecar, label_voxels)
    for node in (made.volume, *made.maps, made.segmentation):
        if node is not None:
            study = case.study if node is made.volume else ""
            volumes.mark(node, model.name, study, case.sidecar, video=made.browser is not None)
    return made


def read_image(scene, path: str, name: str, modality: str = "", frame_ms: float | None = None, window=None):
    """A file as a volume with its window; gives (volume, browser), the browser None for what does not play.

    Args: see `sequences.show` and `volumes.set_window`.

    Raises:
        ZooError: the file cannot be read.
    """
    if videos.is_video(path):
        return sequences.show(scene, path, name, frame_ms, window)[:2]
    volume = volumes.read_volume(scene, path, name)
    volumes.set_window(volume, modality, window)
    return volume, None


def show_case(scene, shown: Shown) -> None:
    """Put a result into the slice views: a map over its scan, a translated image over its source, else alone.

    A video stands alone as well, since its pixels need not be as large as its source's.
    """
    layout.arrange(scene, shown.background or shown.heat)
    if shown.segmentation is not None:
        labels.show_as_outlines(shown.segmentation, FILL if shown.heat is None else 0.0)
    if shown.heat is not None:
        heat.show(scene, shown.heat, shown.background, heat.threshold_of(shown.sidecar))
    elif shown.over_source:
        slices.show_layers(scene, shown.source, shown.volume, 1.0)  # the opacity slider fades from one to the other
    elif shown.volume is not None:
        slices.clear_foreground(scene)
        slices.show_layers(scene, shown.volume)
    elif shown.scores and shown.source is not None:  # classes stand beside the image that they belong to
        slices.clear_foreground(scene)
        slices.show_layers(scene, shown.source)
    # Labels of an earlier result would lie over an image that they have nothing to do with.
    for node in slices.nodes_of(scene, "vtkMRMLSegmentationNode"):
        if node is shown.segmentation or node.GetAttribute(volumes.MODEL):
            node.SetDisplayVisibility(node is shown.segmentation)


def names_of(case: Case, model: Model, source=None) -> dict[str, str]:
    """Kind of output -> name of its node."""
    seed = f" seed {case.sidecar['seed']}" if "seed" in case.sidecar else ""
    ends = {kind: f" {model.title_of(kind)}" for kind in case.outputs}
    if source is None:
        start, own = f"{model.title}{seed}", {"image": "", "video": ""}
    else:
        start, task = source.GetName(), model.task.replace("_", " ")
        own = {"image": f" {task}{seed}", "video": f" {task}{seed}", "overlay": f" {task}"}
    names, views = {}, {kind: model.view_of(kind) for kind in case.outputs}
    for kind in in_order(case.outputs, views, model):
        names[kind] = start + own.get(views[kind], ends[kind])
        if views[kind] == "overlay":
            own.pop("overlay", None)  # the first map is what the task is called after
    return names


def in_order(kinds, views: dict, model: Model) -> list[str]:
    """The kinds of output in the order in which they are read: by how they are shown, then as the model states them."""
    stated = list(model.outputs)
    place = {kind: stated.index(kind) if kind in stated else len(stated) for kind in kinds}
    return sorted(kinds, key=lambda kind: ((*VIEWS, views[kind]).index(views[kind]), place[kind]))


def read_text(scene, path: str, name: str):
    """A table as a text node.

    Raises:
        ZooError: it is no text.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ZooError(f"{os.path.basename(path)} cannot be read as text ({type(error).__name__}).") from error
    node = scene.AddNewNodeByClass("vtkMRMLTextNode", scene.GenerateUniqueName(name))
    node.SetText(text)
    return node


def facts(shown: Shown) -> str:
    """What is known of a result, in a line: requested, seed, score, measured."""
    return volumes.told(shown.sidecar) or shown.title
