"""SynthZooLib on a scene, without a server: in Slicer (`Reload and Test`, ctest) and on slicer-core alone."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import unittest
import zipfile

import numpy as np
import slicer
import vtk

sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))

from SynthZooLib import answer, heat, labels, layout, models, pictures, png, sequences, show, slices, videos, volumes
from SynthZooLib.errors import ZooError
from SynthZooLib.options import read_option

TURN = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]])
OBLIQUE = np.eye(4)
OBLIQUE[:3] = np.column_stack([TURN * [1.5, 1.25, 2.0], [-20.0, 12.0, 33.0]])


def make_volume(array, name: str = "scan", affine=OBLIQUE, kind: str = "vtkMRMLScalarVolumeNode"):
    """A volume node of voxels [k, j, i]."""
    node = slicer.mrmlScene.AddNewNodeByClass(kind, name)
    slicer.util.updateVolumeFromArray(node, array)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(affine))
    node.CreateDefaultDisplayNodes()
    return node


class SynthZooSceneTest(unittest.TestCase):
    """What a reader relies on, a sentence each."""

    def setUp(self):
        self.scene, self.folder = slicer.mrmlScene, tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        for name in ("Red", "Green"):
            if self.scene.GetFirstNodeByName(f"{name} test") is None:
                composite, view = slicer.vtkMRMLSliceCompositeNode(), slicer.vtkMRMLSliceNode()
                composite.SetName(f"{name} test")
                composite.SetLayoutName(f"{name}Test")
                view.SetLayoutName(f"{name}Test")
                self.scene.AddNode(composite)
                self.scene.AddNode(view)

    def test_a_volume_goes_through_a_file_with_every_voxel_where_it_was(self):
        array = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
        path = volumes.write_volume(make_volume(array), self.folder)
        back = volumes.read_volume(self.scene, path, "back")
        np.testing.assert_array_equal(volumes.voxels(back), array)
        np.testing.assert_allclose(volumes.affine_of(back), OBLIQUE, atol=1e-4)
        self.assertIsNone(back.GetStorageNode(), "the temporary file is not the node's own")

    def test_a_linear_transform_is_written_and_another_one_is_refused(self):
        node, move = make_volume(np.ones((3, 4, 5), np.int16)), slicer.vtkMRMLLinearTransformNode()
        shift = np.eye(4)
        shift[:3, 3] = 10, 20, 30
        move.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(shift))
        self.scene.AddNode(move)
        node.SetAndObserveTransformNodeID(move.GetID())
        back = volumes.read_volume(self.scene, volumes.write_volume(node, self.folder), "moved")
        np.testing.assert_allclose(volumes.affine_of(back), shift @ OBLIQUE, atol=1e-4)
        bend = slicer.vtkMRMLGridTransformNode()
        self.scene.AddNode(bend)
        grid = (
            slicer.vtkOrientedGridTransform() if hasattr(slicer, "vtkOrientedGridTransform") else vtk.vtkGridTransform()
        )
        field = vtk.vtkImageData()
        field.SetDimensions(2, 2, 2)
        field.AllocateScalars(vtk.VTK_DOUBLE, 3)
        grid.SetDisplacementGridData(field)
        bend.SetAndObserveTransformToParent(grid)
        node.SetAndObserveTransformNodeID(bend.GetID())
        with self.assertRaisesRegex(ZooError, "harden"):
            volumes.write_volume(node, self.folder)

    def test_a_sheared_volume_is_refused_since_no_file_could_hold_its_place(self):
        shear = OBLIQUE.copy()
        shear[:3, 1] += 0.2 * shear[:3, 0]
        with self.assertRaisesRegex(ZooError, "sheared"):
            volumes.write_volume(make_volume(np.ones((3, 4, 5), np.float32), affine=shear), self.folder)

    def test_what_is_no_volume_is_refused_with_a_sentence_and_leaves_nothing(self):
        path = os.path.join(self.folder, "letter.nii.gz")
        with open(path, "w", encoding="utf-8") as file:
            file.write("a letter")
        before = self.scene.GetNumberOfNodes()
        with self.assertRaisesRegex(ZooError, "letter.nii.gz cannot be read"):
            volumes.read_volume(self.scene, path, "letter")
        self.assertEqual(self.scene.GetNumberOfNodes(), before)
        with self.assertRaisesRegex(ZooError, "no voxels"):
            volumes.write_volume(slicer.vtkMRMLScalarVolumeNode(), self.folder)

    def test_the_window_shows_the_body_and_not_the_background(self):
        array = np.zeros((20, 20, 20), np.float32)
        array[5:15, 5:15, 5:15] = np.linspace(0.2, 0.9, 1000).reshape(10, 10, 10)
        low, high = volumes.set_window(make_volume(array))
        self.assertLess(low, 0.21)
        self.assertTrue(0.85 < high < 0.91, high)
        chest = make_volume(np.linspace(-1000, 1500, 1000).reshape(10, 10, 10).astype(np.int16))
        self.assertEqual(volumes.set_window(chest, "CT"), volumes.CT_WINDOW)
        self.assertEqual(volumes.set_window(chest, "CT", (-600, 600)), (-600.0, 600.0))

    def test_a_study_is_known_again_until_it_is_changed(self):
        node = make_volume(np.arange(60, dtype=np.float32).reshape(3, 4, 5))
        volumes.mark(node, "some_model", "study_7", {"seed": 3, "requested": {"age": 70.0}, "units": {"age": "years"}})
        self.assertEqual(volumes.study_of(node), "study_7")
        self.assertEqual(node.GetDescription(), "requested age 70 years; seed 3")
        slicer.util.arrayFromVolume(node)[0, 0, 0] = 99
        slicer.util.arrayFromVolumeModified(node)
        self.assertEqual(volumes.study_of(node), "")

    def test_a_map_lies_over_the_scan_and_is_clear_below_the_threshold(self):
        scan, node = (
            make_volume(np.ones((4, 5, 6), np.float32)),
            make_volume(np.full((4, 5, 6), 0.5, np.float32), "map"),
        )
        heat.show(self.scene, node, scan, 0.3, 0.7)
        for composite in slices.nodes_of(self.scene, "vtkMRMLSliceCompositeNode"):
            self.assertEqual(composite.GetBackgroundVolumeID(), scan.GetID())
            self.assertEqual(composite.GetForegroundVolumeID(), node.GetID())
            self.assertAlmostEqual(composite.GetForegroundOpacity(), 0.7)
        display = node.GetDisplayNode()
        self.assertEqual(display.GetColorNode().GetName(), heat.COLORS)
        self.assertEqual((display.GetWindowLevelMin(), display.GetWindowLevelMax()), (0.0, 1.0))
        self.assertTrue(display.GetApplyThreshold())
        self.assertAlmostEqual(display.GetLowerThreshold(), 0.3)
        heat.set_threshold(node, 0.0)
        self.assertGreater(display.GetLowerThreshold(), 0, "outside the body stays clear")
        heat.show(self.scene, node, scan)
        found = self.scene.GetNodesByName(heat.COLORS)
        self.assertEqual(found.GetNumberOfItems(), 1, "one colour table for all maps")

    def test_heat_grows_brighter_with_every_shade(self):
        table = heat.colors(self.scene)
        seen = []
        for shade in range(0, heat.SHADES, 15):
            color = [0.0] * 4
            table.GetColor(shade, color)
            seen.append(0.2126 * color[0] + 0.7152 * color[1] + 0.0722 * color[2])
        self.assertEqual(seen, sorted(seen))

    def test_the_worst_region_comes_first_and_the_slices_go_to_its_peak(self):
        array, marks = np.zeros((8, 9, 10), np.float32), np.zeros((8, 9, 10), np.uint8)
        array[1:4, 1:4, 1:4], marks[1:4, 1:4, 1:4] = 0.6, 1
        array[5:7, 6:8, 6:8], marks[5:7, 6:8, 6:8] = 0.7, 2
        array[6, 7, 7] = 0.95
        told = {"regions": [{"label": 1, "volume_ml": 9.0, "peak": 0.6}, {"label": 2, "volume_ml": 2.0, "peak": 0.95}]}
        node = make_volume(array, "map")
        found = heat.regions(node, told, marks)
        self.assertEqual([region.label for region in found], [2, 1])
        np.testing.assert_allclose(found[0].at, (OBLIQUE @ [7, 7, 6, 1])[:3], atol=1e-4)
        np.testing.assert_allclose(found[1].at, (OBLIQUE @ [2, 2, 2, 1])[:3], atol=1e-4)
        slices.jump(self.scene, found[0].at)
        for view in slices.nodes_of(self.scene, "vtkMRMLSliceNode"):
            matrix = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())
            off = matrix[:3, 2] @ (np.array(found[0].at) - matrix[:3, 3])
            self.assertLess(abs(off), 1e-3, "the slice goes through the point")
        (peak,) = heat.regions(node, {"regions": []}, None)
        self.assertEqual(peak.label, 0)
        self.assertAlmostEqual(peak.peak, 0.95, places=5)
        self.assertEqual(heat.regions(make_volume(np.zeros((3, 3, 3), np.float32)), {}, None), [])

    def test_labels_have_the_names_values_and_colours_that_were_stated(self):
        array = np.zeros((6, 6, 6), np.uint8)
        array[:2], array[4:] = 2, 7
        path = volumes.write_volume(make_volume(array), self.folder)
        names, stated = {"ventricle": 2, "nodule": 7}, {"nodule": "#ff8000"}
        node, marks = labels.read_segmentation(self.scene, path, "labels", names, None, stated)
        self.assertEqual(labels.segments(node), names)
        np.testing.assert_array_equal(marks, array)
        nodule = node.GetSegmentation().GetNthSegment(1)
        np.testing.assert_allclose(nodule.GetColor(), (1.0, 128 / 255, 0.0), atol=1e-3)
        back = volumes.read_volume(self.scene, labels.write_labels(node, self.folder), "again", labelmap=True)
        self.assertEqual(sorted(np.unique(volumes.voxels(back))), [0, 2, 7])
        self.assertEqual([int((volumes.voxels(back) == value).sum()) for value in (2, 7)], [72, 72])
        far = [labels.color_of(value) for value in range(1, 9)]
        near = min(np.abs(np.subtract(one, two)).max() for i, one in enumerate(far) for two in far[:i])
        self.assertGreater(near, 0.05, "neighbours have colours that can be told apart")

    def test_a_video_becomes_a_sequence_with_its_frame_time(self):
        frames = np.random.default_rng(1).integers(0, 200, (4, 1, 5, 6)).astype(np.int16)
        path = os.path.join(self.folder, "video.nii.gz")
        videos.write_frames(path, frames, OBLIQUE, 25.0)
        volume, browser, sequence = sequences.show(self.scene, path, "video")
        self.assertTrue(videos.is_video(path))
        self.assertEqual((sequence.GetNumberOfDataNodes(), sequence.GetIndexUnit()), (4, "ms"))
        self.assertEqual([sequence.GetNthIndexValue(number) for number in range(4)], ["0", "25", "50", "75"])
        self.assertAlmostEqual(browser.GetPlaybackRateFps(), 40.0)
        self.assertEqual(browser.GetProxyNode(sequence).GetID(), volume.GetID())
        for number in range(4):
            np.testing.assert_array_equal(volumes.voxels(sequence.GetNthDataNode(number)), frames[number])
        np.testing.assert_allclose(volumes.affine_of(volume), OBLIQUE, atol=1e-4)
        with open(path, "r+b") as file:
            file.truncate(200)
        volumes.mark(volume, "some_model", "study_8", video=True)
        browser.SetSelectedItemNumber(1)
        self.assertEqual(volumes.study_of(volume), "study_8", "whatever frame is shown")
        with self.assertRaisesRegex(ZooError, "cannot be read as a video"):
            sequences.show(self.scene, path, "broken")

    def test_a_video_goes_out_with_all_its_frames_whatever_frame_it_shows(self):
        frames = np.random.default_rng(2).integers(0, 255, (5, 1, 7, 6)).astype(np.uint8)
        volume, browser, _ = self.make_video(frames, frame_ms=62.5)
        browser.SetSelectedItemNumber(3)
        self.assertIs(sequences.browser_of(volume), browser)
        self.assertIsNone(sequences.browser_of(make_volume(np.ones((1, 4, 5), np.float32))))
        found, affine, frame_ms = videos.read_frames(sequences.write(volume, self.folder))
        np.testing.assert_array_equal(found, frames)
        np.testing.assert_allclose(affine, OBLIQUE, atol=1e-5)
        self.assertAlmostEqual(frame_ms, 62.5, places=3)
        with self.assertRaisesRegex(ZooError, "type complex"):
            videos.write_frames(os.path.join(self.folder, "x.nii.gz"), frames.astype(complex), OBLIQUE, 40.0)

    def make_video(self, frames, affine=OBLIQUE, frame_ms: float = 40.0):
        """A video of frames [t, k, j, i] in the scene."""
        path = os.path.join(self.folder, "made.nii.gz")
        videos.write_frames(path, frames, affine, frame_ms)
        return sequences.show(self.scene, path, "made")

    def test_a_flat_image_has_one_large_view_and_a_volume_the_layout_that_was_there(self):
        node, red = self.make_layout()
        kinds = slicer.vtkMRMLLayoutNode
        node.SetViewArrangement(kinds.SlicerLayoutFourUpView)
        volume = self.make_video(np.random.default_rng(3).integers(0, 9, (3, 1, 8, 6)).astype(np.uint8))[0]
        picture = make_volume(np.eye(9, dtype=np.float32)[None], "picture")
        for flat in (volume, picture):
            show.show_case(self.scene, show.Shown("flat", {}, volume=flat))
            self.assertEqual(node.GetViewArrangement(), kinds.SlicerLayoutOneUpRedSliceView)
        scan = show.Shown("scan", {}, volume=make_volume(np.ones((4, 5, 6), np.float32)))
        show.show_case(self.scene, scan)
        self.assertEqual(node.GetViewArrangement(), kinds.SlicerLayoutFourUpView)
        self.assertEqual(red.GetOrientation(), "Axial")
        show.show_case(self.scene, show.Shown("flat", {}, volume=picture))
        node.SetViewArrangement(kinds.SlicerLayoutConventionalView)
        show.show_case(self.scene, scan)
        self.assertEqual(node.GetViewArrangement(), kinds.SlicerLayoutConventionalView, "the reader's choice stays")

    def make_layout(self):
        """The layout node and the red view that the application has."""
        found = self.scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
        node = found or self.scene.AddNewNodeByClass("vtkMRMLLayoutNode")
        views = [view for view in slices.nodes_of(self.scene, "vtkMRMLSliceNode") if view.GetLayoutName() == "Red"]
        if not views:
            red, axial = slicer.vtkMRMLSliceNode(), vtk.vtkMatrix3x3()
            red.SetLayoutName("Red")
            axial.SetElement(0, 0, -1)
            red.AddSliceOrientationPreset("Axial", axial)
            red.SetOrientation("Axial")
            views.append(self.scene.AddNode(red))
        return node, views[0]

    def test_a_flat_image_stands_upright_and_fills_the_view(self):
        columns_to_the_left_rows_to_the_back = np.diag([-2.0, -2.0, 1.0, 1.0])
        of_a_side = np.array([[0, 0, 1, 5], [-1, 0, 0, 6], [0, -1, 0, 7], [0, 0, 0, 1]], float)
        for affine in (columns_to_the_left_rows_to_the_back, of_a_side):
            volume = make_volume(np.zeros((1, 30, 40), np.float32), affine=affine)
            view = slicer.vtkMRMLSliceNode()
            view.SetLayoutName("Large")
            layout.face(view, volume)
            matrix = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())
            step = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
            np.testing.assert_allclose(matrix[:3, 0], step[:, 0], atol=1e-6, err_msg="columns run to the right")
            np.testing.assert_allclose(matrix[:3, 1], -step[:, 1], atol=1e-6, err_msg="rows run down")
            np.testing.assert_allclose(matrix[:3, 3], (affine @ [19.5, 14.5, 0, 1])[:3], atol=1e-6)
        tilted = make_volume(np.zeros((1, 30, 40), np.float32), affine=OBLIQUE)
        layout.face(view, tilted)
        matrix = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())
        self.assertAlmostEqual(abs(float(matrix[:3, 2] @ TURN[:, 2])), 1.0, places=6, msg="looks along the thin axis")
        np.testing.assert_allclose(matrix[:3, :3].T @ matrix[:3, :3], np.eye(3), atol=1e-6)
        self.assertLess(np.linalg.det(matrix[:3, :3]), 0, "as Slicer's own orientations")
        self.assertFalse(layout.is_flat(make_volume(np.zeros((2, 30, 40), np.float32))))

    def test_maps_of_a_picture_lie_on_its_pixels_and_the_anomaly_map_is_the_one_in_front(self):
        levels = np.arange(12 * 9, dtype=np.int16).reshape(1, 12, 9) * 7
        source = make_volume(levels, "chest", OBLIQUE)
        path = pictures.write_picture(source, self.folder)
        sent = volumes.voxels(volumes.read_volume(self.scene, path, "sent"))[0]
        np.testing.assert_array_equal(sent, np.rint(levels[0] / levels.max() * 65535), "rows and columns as they were")
        one, two = np.zeros((12, 9)), np.full((12, 9), 65535)
        one[2:5, 3:7] = 0.5 * 65535
        files = {}
        for kind, deep in (("confidence", two), ("label", one > 0), ("heat_map", one)):
            files[kind] = answer.Output(os.path.join(self.folder, f"{kind}.png"), {"region 1": 1})
            with open(files[kind].path, "wb") as file:
                file.write(png.png_of(np.asarray(deep).astype(">u2")))
        stated = {"heat_map": {"view": "overlay"}, "confidence": {"view": "overlay", "title": "confidence map"}}
        model = models.Model("m", "M", "anomaly_map", True, outputs=stated)
        sidecar = {"threshold": {"value": 0.25}, "regions": [{"label": 1, "peak": 0.5, "area_share": 12 / 108}]}
        made = show.load_case(self.scene, answer.Case("chest", sidecar, files), model, source)
        self.assertEqual(
            ([node.GetName() for node in made.maps], made.missing), (["chest anomaly map", "chest confidence map"], [])
        )
        for node, deep in zip(made.maps, (one, two)):
            np.testing.assert_allclose(volumes.voxels(node)[0], np.asarray(deep) / 65535, atol=1e-4)
            np.testing.assert_allclose(volumes.affine_of(node), OBLIQUE, atol=1e-4)
        self.assertEqual(made.regions[0].text(), "Region 1: peak 0.50, 11.1 % of the image")
        show.show_case(self.scene, made)
        composite = self.scene.GetFirstNodeByName("Red test")
        layers = composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()
        self.assertEqual(layers, (source.GetID(), made.heat.GetID()))

    def make_photograph(self, extra=(), kind=np.uint8):
        """Colours [1, j, i, bands] of a flat image and its node; `extra` are bands behind red, green and blue."""
        white = np.iinfo(kind).max
        colours = np.random.default_rng(4).integers(0, 256, (1, 12, 9, 3)).astype(np.float64) / 255 * white
        bands = [colours, *(np.full((1, 12, 9, 1), part * white) for part in extra)]
        array = np.ascontiguousarray(np.rint(np.concatenate(bands, -1)).astype(kind))
        return array, make_volume(array, "photograph", kind="vtkMRMLVectorVolumeNode")

    def test_a_photograph_goes_out_and_comes_back_with_its_colours(self):
        for extra, kind in (((), np.uint8), ((1,), np.uint8), ((), np.uint16)):
            array, node = self.make_photograph(extra, kind)
            path = pictures.write_picture(node, self.folder)
            self.assertTrue(layout.is_flat(node))
            back = volumes.read_volume(self.scene, path, "back")
            self.assertTrue(back.IsA("vtkMRMLVectorVolumeNode"))
            expected = np.rint(array[..., :3] * (255 / np.iinfo(kind).max))
            np.testing.assert_array_equal(volumes.voxels(back), expected)
            self.assertEqual(volumes.set_window(back), (0.0, 255.0), "as it is")
            volumes.mark(back, "m", "study_9")
            self.assertEqual(volumes.study_of(back), "study_9")
            self.assertIs(volumes.find_study(self.scene, "study_9"), back)
            self.scene.RemoveNode(back)
        grey = np.repeat(np.arange(108, dtype=np.uint8).reshape(1, 12, 9, 1), 2, -1)
        grey[..., 1] = 255
        node = make_volume(grey, "grey and opaque", kind="vtkMRMLVectorVolumeNode")
        sent = volumes.read_volume(self.scene, pictures.write_picture(node, self.folder), "sent")
        self.assertFalse(sent.IsA("vtkMRMLVectorVolumeNode"))
        np.testing.assert_array_equal(volumes.voxels(sent)[0], np.rint(grey[0, ..., 0] / 107 * 65535))

    def test_several_numbers_a_pixel_that_are_no_colours_are_refused(self):
        with self.assertRaisesRegex(ZooError, "photograph is transparent in places"):
            pictures.write_picture(self.make_photograph((0.5,))[1], self.folder)
        for array in (np.zeros((1, 4, 5, 3), np.float32), np.zeros((1, 4, 5, 6), np.uint8)):
            node = make_volume(array, "field", kind="vtkMRMLVectorVolumeNode")
            with self.assertRaisesRegex(ZooError, "that are no colours"):
                pictures.write_picture(node, self.folder)
        with self.assertRaisesRegex(ZooError, "has colours or several components"):
            volumes.write_volume(make_volume(np.zeros((3, 4, 5, 3), np.uint8), kind="vtkMRMLVectorVolumeNode"), "")

    def test_a_map_lies_on_a_photograph_and_has_no_colours_itself(self):
        array, source = self.make_photograph()
        path = os.path.join(self.folder, "map.png")
        with open(path, "wb") as file:
            file.write(png.png_of((np.arange(108).reshape(12, 9) // 36 * 600).astype(">u2")))
        node = pictures.read_map(self.scene, path, "map", source)
        np.testing.assert_allclose(volumes.affine_of(node), OBLIQUE, atol=1e-4)
        self.assertEqual(volumes.voxels(node).shape, (1, 12, 9))
        found, marks = labels.read_segmentation(self.scene, path, "labels", {}, source)
        self.assertEqual(marks.shape, (1, 12, 9))
        with open(path, "wb") as file:
            file.write(png.png_of(array[0]))
        with self.assertRaisesRegex(ZooError, "map.png has colours"):
            pictures.read_map(self.scene, path, "map", source)
        with self.assertRaisesRegex(ZooError, "map.png has colours"):
            labels.read_segmentation(self.scene, path, "labels", {}, source)

    def test_a_slice_in_colour_of_a_file_opens_with_its_colours(self):
        array, node = self.make_photograph()
        for ending in (".nii.gz", ".nrrd"):
            storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
            storage.SetFileName(os.path.join(self.folder, f"photograph{ending}"))
            self.assertTrue(storage.WriteData(node))
            volume, browser = show.read_image(self.scene, storage.GetFileName(), "photograph")
            self.assertIsNone(browser)
            self.assertTrue(volume.IsA("vtkMRMLVectorVolumeNode"))
            np.testing.assert_array_equal(volumes.voxels(volume), array)
            np.testing.assert_allclose(volumes.affine_of(volume), OBLIQUE, atol=1e-4)

    def test_an_answer_that_would_leave_its_folder_is_refused(self):
        path = os.path.join(self.folder, "answer.zip")
        told = {"model": "m", "cases": [{"name": "a", "sidecar": {}, "files": {"image": {"path": "../../evil.nii"}}}]}
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("answer.json", json.dumps(told))
            archive.writestr("../../evil.nii", b"x")
        with self.assertRaisesRegex(ZooError, "no answer of the zoo"):
            answer.unpack(path, os.path.join(self.folder, "in"))

    def test_options_become_fields_with_round_steps_and_refuse_what_the_server_would(self):
        age = read_option("age", {"type": "number", "minimum": 20, "maximum": 90, "unit": "years", "condition": True})
        self.assertEqual((age.step, age.decimals, age.start, age.check(None)), (1.0, 0, 55.0, None))
        volume = read_option(
            "ventricle_ml", {"type": "number", "minimum": 5, "maximum": 120, "unit": "mL", "default": 20}
        )
        self.assertEqual((volume.title, volume.step), ("Ventricle", 2.0))
        frame = read_option("frame", {"type": "integer", "minimum": 0, "maximum": 99, "default": None})
        unset = [option.may_be_unset for option in (age, volume, frame)]
        self.assertEqual((unset, frame.check(None)), ([True, False, True], None), "what has no default is not sent")
        weight = read_option("guidance", {"type": "number", "minimum": 0, "maximum": 2, "default": 1.75})
        self.assertEqual((weight.step, weight.decimals), (0.02, 2))
        for option, bad in ((age, 200), (volume, "much"), (weight, [1])):
            with self.assertRaisesRegex(ZooError, option.title):
                option.check(bad)
        highest = 2**62 - 1
        seed = read_option("seed", {"type": "integer", "minimum": 0, "maximum": highest, "default": 0})
        self.assertEqual([seed.check(str(2**53 + 1)), seed.check(highest)], [2**53 + 1, highest], "to the last digit")
        for bad in (str(highest + 1), -1):
            with self.assertRaisesRegex(ZooError, f"between 0 and {highest}"):
                seed.check(bad)
        with self.assertRaisesRegex(ZooError, "must be an integer"):
            seed.check(float(2**53))  # may stand for its neighbour
        with self.assertRaisesRegex(ZooError, "update"):
            read_option("text", {"type": "prose"})

    def test_a_task_that_is_not_known_still_has_a_place_in_the_panel(self):
        index = {"x": {"synthzoo": {"task": "time_travel", "title": "X", "options": {}}}, "stock": {"type": "other"}}
        found = models.read_models(index)
        self.assertEqual(models.tasks_of(found), {"time_travel": "Time travel"})
        self.assertEqual(found["x"].verb, "Run")
        with self.assertRaisesRegex(ZooError, "no model"):
            models.read_models({"stock": {"type": "other"}})


if __name__ == "__main__":
    unittest.main()
