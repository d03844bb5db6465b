"""Painted scenes: their seeds, masks and captions; pools of them; folders of photographs in the published layout."""

import numpy as np
import pytest
from PIL import Image

from synthzoo.datasets.scenes.folders import Photographs, read_photographs
from synthzoo.datasets.scenes.phantoms import ScenePhantomDataset
from synthzoo.errors import UserError
from synthzoo.networks.word_tokens import words_of
from synthzoo.phantoms.scenes.captions import vocabulary
from synthzoo.phantoms.scenes.scene import CLASSES, make_scene


@pytest.fixture(scope="module")
def scenes():
    return [make_scene(seed, 64) for seed in range(12)]


def test_a_scene_is_a_function_of_its_seed(scenes):
    again = make_scene(3, 64)
    assert np.array_equal(again.image, scenes[3].image) and again.caption == scenes[3].caption
    assert not np.array_equal(scenes[3].image, scenes[4].image)


def test_masks_are_apart_and_captions_name_what_is_seen(scenes):
    words = set(vocabulary())
    assert any(len(scene.objects) > 1 for scene in scenes) and not make_scene(1, 64, 0).objects
    for scene in [*scenes, make_scene(1, 64, 0)]:
        assert scene.image.shape == (3, 64, 64) and scene.image.min() >= 0 and scene.image.max() <= 1
        assert sum((one.mask.astype(int) for one in scene.objects), np.zeros((64, 64), int)).max() <= 1
        said = words_of(scene.caption)
        named = {kind for kind in CLASSES if any(kind in word for word in said)}
        assert named == {one.kind for one in scene.objects} and set(said) <= words


@pytest.mark.parametrize("kind", CLASSES)
def test_an_object_fills_a_part_of_the_image_that_can_be_named(kind):
    (one,) = make_scene(5, 64, 1, (kind,)).objects
    assert one.kind == kind and 0.005 < one.mask.mean() < 0.5


@pytest.mark.parametrize(
    "settings, said",
    [({"size": 32}, "64 pixels"), ({"kinds": ("cat",)}, "person, dog, car, bird"), ({"seed": -1}, "integers from 0")],
)
def test_a_bad_setting_is_one_sentence(settings, said):
    with pytest.raises(UserError, match=said):
        make_scene(**{"seed": 0, **settings})


def test_a_pool_is_painted_once_and_its_rows_are_the_scenes(tmp_path):
    rows = ScenePhantomDataset("test", 3, 64, masks=True, cache_dir=tmp_path)
    scene = make_scene(2_000_001, 64)
    assert rows[1]["caption"] == scene.caption and np.abs(rows[1]["image"].numpy() - scene.image).max() <= 0.51 / 255
    assert np.array_equal(rows[1]["mask"].numpy().astype(bool), np.stack([scene.mask(kind) for kind in CLASSES]))
    stamp = rows.pool.folder.stat().st_mtime_ns
    assert ScenePhantomDataset("test", 3, 64, cache_dir=tmp_path).pool.folder.stat().st_mtime_ns == stamp


@pytest.fixture
def folder(tmp_path):
    """Two photographs, one of them upright by its EXIF alone, and a segmentation."""
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "segmentations" / "a").mkdir(parents=True)
    levels = np.zeros((40, 60, 3), np.uint8)
    levels[:, :30] = (250, 10, 10)
    exif = Image.Exif()
    exif[0x0112] = 6  # held upright
    Image.fromarray(levels).save(tmp_path / "images" / "a" / "one.jpg", exif=exif)
    Image.fromarray(levels).save(tmp_path / "images" / "two two.png")
    Image.fromarray(np.repeat([[0, 255]], 40, 0).repeat(30, 1).astype(np.uint8)).save(
        tmp_path / "segmentations/two two.png"
    )
    (tmp_path / "images.txt").write_text("a/one.jpg 1\ntwo two.png 0\n")
    return tmp_path


def test_photographs_are_read_with_captions_and_segmentations(folder):
    (folder / "captions.csv").write_text("path,caption\ntwo two.png,a photo of a red bird\n")
    (first,) = read_photographs(folder, "train", "a photo of a bird")
    (second,) = read_photographs(folder, "test", "a photo of a bird")
    assert (first["caption"], second["caption"]) == ("a photo of a bird", "a photo of a red bird")
    row = Photographs([first], 32)[0]["image"]
    assert row[0, :8].mean() > 0.9 and row[0, -8:].mean() < 0.1  # turned: the red half lies above
    rows = Photographs([second, first], 32, masks=True)
    assert rows[0]["mask"][0, :, 17:].mean() == 1 and rows[0]["mask"][0, :, :15].mean() == 0
    assert rows[1]["mask"].sum() == 0 and rows.truth(1) == {"caption": "a photo of a bird", "row": 1}


@pytest.mark.parametrize(
    "text, said",
    [
        ("a/one.jpg", "line 1: 'a/one.jpg' is no path and 1"),
        ("a/one.jpg 7", "is no path and 1"),
        ("../x.jpg 1", "leads out of the folder"),
        ("a/one.jpg 0", "no photograph of the split train"),
        ("", "is empty"),
    ],
)
def test_a_bad_list_of_photographs_is_one_sentence(folder, text, said):
    (folder / "images.txt").write_text(text + "\n" if text else "")
    with pytest.raises(UserError, match=said):
        read_photographs(folder, "train", "a bird")


def test_a_photograph_without_a_caption_is_told(folder):
    with pytest.raises(UserError, match="has no caption"):
        read_photographs(folder, "train")
