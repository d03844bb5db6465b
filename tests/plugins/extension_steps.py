"""What a reader does in the SynthZoo panel, step by step; each gives facts about the scene for the test to judge."""

from __future__ import annotations

import re

import numpy as np
from small_image_bundles import FINER, FROM_LABELS, TWIN

SYNTHESIS, REAL_MAP = "brain_mr_synthesis_ldm", "brain_mr_anomaly_map_manytasks"
MAP, TRANSLATION = "phantom_mr_anomaly_map_tiny", "phantom_mr_translation_tiny"
VIDEO, LABELLED = "phantom_us_video_synthesis_tiny", "phantom_mr_synthesis_labelled_tiny"
TURN_DEG, SHIFT_MM = 20.0, (7.0, -4.0, 11.0)
HALFWAY = 0.55  # a threshold that leaves some of the small map


def layers(driver) -> list[list]:
    """Names of background and foreground, and the foreground's opacity, of each slice view."""
    from SynthZooLib import slices

    def name(node_id):
        node = driver.scene.GetNodeByID(node_id or "")
        return node.GetName() if node else None

    found = slices.nodes_of(driver.scene, "vtkMRMLSliceCompositeNode")
    return [
        [name(one.GetBackgroundVolumeID()), name(one.GetForegroundVolumeID()), round(one.GetForegroundOpacity(), 3)]
        for one in found
    ]


def window_of(node) -> list[float]:
    display = node.GetDisplayNode()
    return [display.GetWindowLevelMin(), display.GetWindowLevelMax()]


def a_dead_address(driver, url, scan) -> dict:
    driver.connect("http://127.0.0.1:9")
    dead = driver.panel.status.text
    driver.connect("http://")
    return {"dead": dead, "none": driver.panel.status.text, "run": bool(driver.panel.runButton.enabled)}


def connecting(driver, url, scan) -> dict:
    driver.connect(url)
    panel = driver.panel
    tasks = [panel.task.itemText(number) for number in range(panel.task.count)]
    driver.choose(REAL_MAP)
    facts = {"status": panel.serverStatus.text, "tasks": tasks, "without_a_scan": bool(panel.runButton.enabled)}
    studies = [panel.studies.itemText(number) for number in range(panel.studies.count)]
    return {**facts, "studies": studies, "description": panel.description.text}


def generating(driver, url, scan) -> dict:
    driver.choose(SYNTHESIS)
    fields = driver.widget.fields
    ranges = {name: [field.input.minimum, field.input.maximum, field.input.suffix]
              for name, field in fields.items() if field.option.bounded}  # fmt: skip
    left_out = [name for name, field in fields.items() if field.value() is None]
    texts = driver.press_run(age=64, sex="M", seed=77, steps=40)
    driver.reset_views()
    item = driver.result
    driver.keep("generated", item.volume)
    facts = {"ranges": ranges, "left_out": left_out, "texts": texts, "facts": driver.panel.facts.text}
    facts |= {"name": item.volume.GetName(), "window": window_of(item.volume), "layers": layers(driver)}
    facts["picture"] = driver.picture("generated")
    return {**facts, "study": item.volume.GetAttribute("SynthZoo.study"), "lit": lit(driver)}


def lit(driver) -> list[float]:
    """Share of pixels of each view that are not black."""
    from slicer_views import pixels

    return [lit_part(pixels(view)) for view in driver.views.values()]


def lit_part(picture) -> float:
    return round(float((picture.max(-1) > 40).mean()), 3)


def generating_several(driver, url, scan) -> dict:
    driver.panel.nextSeed.checked = True
    driver.press_run(age=None, sex=None, seed=5, num_samples=3, steps=1)
    panel, shown = driver.panel, driver.widget.results.shown
    names = [panel.results.itemText(number) for number in range(panel.results.count)]
    panel.results.setCurrentIndex(2)
    facts = {"names": names, "layers": layers(driver), "seed": driver.widget.fields["seed"].value()}
    driver.panel.nextSeed.checked = False
    return {**facts, "different": len({driver_voxels(item.volume).tobytes() for item in shown})}


def driver_voxels(node) -> np.ndarray:
    from SynthZooLib import volumes

    return volumes.voxels(node)


def labels_with_names(driver, url, scan) -> dict:
    from SynthZooLib import labels

    driver.choose(LABELLED)
    driver.press_run(seed=3)
    node = driver.result.segmentation
    names = labels.segments(node)
    found = node.GetSegmentation()
    counts, colors = {}, []
    for number in range(found.GetNumberOfSegments()):
        key = found.GetNthSegmentID(number)
        array = driver.slicer.util.arrayFromSegmentBinaryLabelmap(node, key, driver.result.volume)
        counts[found.GetNthSegment(number).GetName()] = int((array > 0).sum())
        colors.append([round(part, 3) for part in found.GetNthSegment(number).GetColor()])
    return {"names": names, "counts": counts, "colors": colors}


def an_image_of_labels(driver, url, scan) -> dict:
    segmentation = driver.result.segmentation
    driver.choose(FROM_LABELS)
    shown = [box.isVisibleTo(driver.widget.parent) for box in (driver.panel.input, driver.panel.labels)]
    driver.panel.labels.setCurrentNode(segmentation)
    driver.press_run()
    driver.keep("from_labels", driver.result.volume)
    return {"name": driver.result.volume.GetName(), "shown": shown, "layers": layers(driver)}


def playing_a_video(driver, url, scan) -> dict:
    from slicer_views import pixels

    driver.choose(VIDEO)
    before = driver.large
    driver.press_run(seed=9, gain=2)
    item, panel = driver.result, driver.panel
    facts = {"large": [before, driver.large], "lit": lit_part(pixels(driver.views["Red"]))}
    frames = []
    for number in range(item.browser.GetNumberOfItems()):
        panel.frame.value = number
        driver.sequences.UpdateProxyNodesFromSequences(item.browser)
        frames.append(driver_voxels(item.volume).copy())
    np.savez(driver.folder / "video", frames=np.stack(frames))
    sequence = item.browser.GetMasterSequenceNode()
    panel.frame.value = 0
    first = pixels(driver.views["Red"])
    facts |= {"items": item.browser.GetNumberOfItems(), "last": sequence.GetNthIndexValue(11)}
    panel.playButton.checked = True
    facts |= {"seen": driver.watch(item.browser, 2.0), "button": [panel.playButton.text]}
    facts["slider"] = [panel.frame.value, item.browser.GetSelectedItemNumber()]
    panel.playButton.checked = False
    facts["paused"] = driver.watch(item.browser, 0.3)
    facts["button"].append(panel.playButton.text)
    item.browser.SetSelectedItemNumber(7)  # by Slicer's own toolbar
    facts["by_toolbar"] = panel.frame.value
    panel.frame.value = 6
    driver.sequences.UpdateProxyNodesFromSequences(item.browser)
    facts["moved"] = float(np.abs(pixels(driver.views["Red"]).astype(int) - first).mean())
    facts |= {
        "unit": sequence.GetIndexUnit(),
        "rate": item.browser.GetPlaybackRateFps(),
        "window": window_of(item.volume),
    }
    return {**facts, "picture": driver.picture("video")}


def sample_data(driver, url, scan) -> dict:
    """A user with nothing at hand tries a map, a counterfactual and an image of labels."""
    from SynthZooLib import sequences

    panel, facts = driver.panel, {}
    panel.keep.checked = False  # other tests count what the server has
    driver.choose(SYNTHESIS)
    facts["no_input"] = panel.sampleButton.isVisibleTo(driver.widget.parent)
    driver.choose(MAP)
    panel.sampleButton.click()
    facts |= {"scan": driver.result.name, "chosen": panel.input.currentNode().GetName(), "large": [driver.large]}
    driver.keep("sample", driver.result.volume)
    driver.press_run(threshold=HALFWAY)
    facts["map"] = layers(driver)[0]
    panel.sampleButton.click()
    facts["another"] = driver.result.name
    driver.choose(TWIN)
    panel.sampleButton.click()
    item = driver.result
    facts |= {"video": item.name, "rate": item.browser.GetPlaybackRateFps(), "frames": item.browser.GetNumberOfItems()}
    facts["large"].append(driver.large)
    panel.playButton.checked = True
    facts["seen"] = driver.watch(item.browser, 1.0)
    panel.input.setCurrentNode(item.volume)
    driver.press_run(ef=70)
    made = driver.result
    facts |= {"still_plays": bool(panel.playButton.checked), "facts": panel.facts.text}
    facts |= {"counterfactual": made.volume.GetName(), "alone": layers(driver)[0], "window": made.sidecar["window"]}
    facts["made_frames"] = made.browser.GetNumberOfItems() if sequences.browser_of(made.volume) else 0
    facts["picture"] = driver.picture("counterfactual")
    driver.choose(FROM_LABELS)
    panel.sampleButton.click()
    facts["labels"] = panel.labels.currentNode().GetName()
    facts["segments"] = driver.result.segmentation.GetSegmentation().GetNumberOfSegments()
    driver.press_run()
    facts["of_labels"] = driver.result.volume.GetName()
    facts["large"].append(driver.large)
    facts["until_here"] = driver.said()
    driver.choose(FINER)
    panel.sampleButton.click()
    panel.keep.checked = True
    return facts


def mapping_a_moved_scan(driver, url, scan) -> dict:
    from slicer_views import pixels
    from SynthZooLib import heat, slices, volumes

    node = volumes.read_volume(driver.scene, scan, "my scan")
    volumes.set_window(node)
    move = driver.slicer.vtkMRMLLinearTransformNode()
    turn = np.deg2rad(TURN_DEG)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    matrix[:3, 3] = SHIFT_MM
    move.SetMatrixTransformToParent(driver.slicer.util.vtkMatrixFromArray(matrix))
    driver.scene.AddNode(move)
    node.SetAndObserveTransformNodeID(move.GetID())
    driver.choose(MAP)
    driver.panel.input.setCurrentNode(node)
    texts = driver.press_run(threshold=HALFWAY)
    item, panel = driver.result, driver.panel
    driver.keep("heat", item.heat)
    driver.reset_views()
    facts = {"texts": texts, "layers": layers(driver), "regions": panel.regions.count, "facts": panel.facts.text}
    facts |= {"threshold": panel.threshold.value, "opacity": panel.opacity.value, "window": window_of(item.heat)}
    facts["colors"] = item.heat.GetDisplayNode().GetColorNode().GetName()
    panel.worstButton.click()
    worst = item.regions[0]
    facts |= {"worst": [worst.label, worst.peak, *worst.at], "offsets": slices.offsets(driver.scene)}
    # Where the slice view shows the worst point: only it passes a threshold right below the peak.
    view = driver.views["Red"]
    panel.threshold.value = round(worst.peak - 0.005, 2)
    panel.opacity.value = 1.0
    over = pixels(view).astype(int)
    panel.opacity.value = 0.0
    changed = np.abs(pixels(view).astype(int) - over).sum(-1) > 30
    panel.opacity.value, panel.threshold.value = 0.6, HALFWAY
    rows, columns = np.nonzero(changed)
    heat_now = item.heat.GetDisplayNode().GetLowerThreshold()
    facts |= {"changed": int(changed.sum()), "lower": heat_now, "steady": heat.OPACITY}
    slice_node = next(one for one in slices.nodes_of(driver.scene, "vtkMRMLSliceNode") if one.GetLayoutName() == "Red")
    to_xy = np.linalg.inv(driver.slicer.util.arrayFromVTKMatrix(slice_node.GetXYToRAS()))
    x, y, *_ = to_xy @ np.array([*worst.at, 1.0])
    facts["at"] = [float(x), float(changed.shape[0] - 1 - y)]
    facts["near"] = float(np.hypot(columns - x, rows - facts["at"][1]).min()) if rows.size else None
    facts["picture"] = driver.picture("heat_map_small")
    node.SetAndObserveTransformNodeID(None)
    return facts


def translating(driver, url, scan) -> dict:
    driver.choose(TRANSLATION)
    driver.panel.input.setCurrentNode(driver.scene.GetFirstNodeByName("my scan"))
    driver.press_run()
    driver.keep("translated", driver.result.volume)
    facts = {"layers": layers(driver)}
    driver.panel.opacity.value = 0.25
    return {**facts, "faded": layers(driver)}


def cancelling(driver, url, scan) -> dict:
    driver.choose(SYNTHESIS)
    for name, value in {"steps": 200, "num_samples": 4, "seed": 1}.items():
        driver.widget.fields[name].set_value(value)
    driver.panel.runButton.click()
    locked = not driver.panel.runButton.enabled and driver.panel.cancelButton.enabled
    texts = driver.settle(until=lambda: "network calls" in driver.panel.status.text)
    job = driver.widget.logic.run.job
    driver.panel.cancelButton.click()
    driver.settle()
    state = next(found["state"] for found in driver.widget.logic.client.jobs() if found["id"] == job)
    again = bool(driver.panel.runButton.enabled)
    return {"texts": texts, "status": driver.panel.status.text, "state": state, "locked": bool(locked), "again": again}


def what_is_refused(driver, url, scan) -> dict:
    driver.choose(SYNTHESIS)
    driver.widget.fields["seed"].input.text = "many"
    driver.panel.runButton.click()
    refused = [driver.panel.status.text]
    driver.widget.fields["seed"].input.text = "1"
    driver.choose(MAP)
    flat = driver.slicer.vtkMRMLScalarVolumeNode()
    flat.SetName("empty")
    driver.scene.AddNode(flat)
    driver.panel.input.setCurrentNode(flat)
    driver.panel.runButton.click()
    refused.append(driver.panel.status.text)
    driver.scene.RemoveNode(flat)
    flat = driver.slicer.util.addVolumeFromArray(np.full((8, 8, 8), np.nan, np.float32), name="nothing")
    driver.panel.input.setCurrentNode(flat)
    driver.panel.runButton.click()
    driver.settle()
    refused.append(driver.panel.status.text)
    driver.scene.RemoveNode(flat)
    return {"refused": refused, "free": not driver.widget.logic.busy}


def the_worst_study(driver, url, scan) -> dict:
    panel, widget = driver.panel, driver.widget
    widget.onRefresh()
    for study in ("scan_0", "scan_2"):
        panel.studies.setCurrentIndex(widget.studyNames.index(study))
        panel.openButton.click()
        driver.choose(MAP)
        panel.input.setCurrentNode(driver.result.volume)
        driver.press_run()
    lines = [panel.studies.itemText(number) for number in range(panel.studies.count)]
    panel.openWorstButton.click()
    item = driver.result
    names = [node.GetName() for node in item.nodes()] if item else []
    return {"lines": lines, "nodes": names, "layers": layers(driver), "status": panel.status.text}


def mapping_every_study(driver, url, scan) -> dict:
    panel, widget = driver.panel, driver.widget
    driver.choose(SYNTHESIS)
    no_scan = bool(panel.batchButton.enabled)
    driver.choose(MAP)
    widget.fields["threshold"].set_value(0.31)  # no study has a map with this threshold
    title = panel.batchButton.text
    panel.batchButton.click()
    locked = [bool(panel.batchButton.enabled), bool(panel.stopBatchButton.enabled), bool(panel.runButton.enabled)]
    texts = driver.settle_batch(until=lambda: re.match(r"[2-9] of ", panel.batchStatus.text))
    fraction = panel.batchProgress.value / 100
    panel.stopBatchButton.click()
    driver.settle_batch()
    facts = {"title": title, "no_scan": no_scan, "locked": locked, "texts": texts, "fraction": fraction}
    facts |= {"stopped": panel.batchStatus.text, "state": widget.logic.client.batches()[-1]["status"]}
    panel.batchButton.click()
    driver.settle_batch()
    facts["resumed"] = panel.batchStatus.text
    panel.batchButton.click()
    driver.settle_batch()
    facts |= {"again": panel.batchStatus.text, "free": bool(panel.batchButton.enabled)}
    return {**facts, "lines": [panel.studies.itemText(number) for number in range(panel.studies.count)]}


def a_batch_of_another_client(driver, url, scan) -> dict:
    panel, client = driver.panel, driver.widget.logic.client
    client.start_batch(REAL_MAP, {"threshold": 0.47})
    driver.choose(MAP)
    panel.batchButton.click()
    driver.settle_batch()
    refused = panel.batchStatus.text
    driver.connect(url)  # as when Slicer was closed meanwhile
    driver.settle_batch(until=lambda: " of " in panel.batchStatus.text)
    followed, model = panel.batchStatus.text, driver.widget.logic.batch.model
    panel.stopBatchButton.click()
    driver.settle_batch()
    return {"refused": refused, "followed": followed, "model": model, "state": client.batches()[-1]["status"]}


def saving_and_closing(driver, url, scan) -> dict:
    path = driver.folder / "scene.mrb"
    driver.app.io_manager.save_scene(str(path))
    driver.scene.Clear()
    driver.app.qt_application.processEvents()
    empty = driver.result is None and not driver.panel.resultSection.isVisible()
    return {"bytes": path.stat().st_size, "empty": empty, "input": driver.panel.input.currentNode() is None}


STEPS = (
    a_dead_address,
    connecting,
    generating,
    generating_several,
    labels_with_names,
    an_image_of_labels,
    playing_a_video,
    sample_data,
    mapping_a_moved_scan,
    translating,
    cancelling,
    what_is_refused,
    the_worst_study,
    mapping_every_study,
    a_batch_of_another_client,
    saving_and_closing,
)
