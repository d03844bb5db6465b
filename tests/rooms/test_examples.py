"""Seeded example inputs: which bundle has one, that a seed gives the same file, and that its readers take it."""

import sys
from pathlib import Path

import pytest
from bundle_runs import ROOT
from typed_commands import functions

from synthzoo.bundle.find import find_bundles, read_json, read_metadata
from synthzoo.cases.examples import EXAMPLES, write_example
from synthzoo.cases.images import ImageTable
from synthzoo.datasets.echo.reference_frames import read_frame
from synthzoo.datasets.echo.videos import read_beat
from synthzoo.errors import UserError
from synthzoo.io.marks import read_mark
from synthzoo.io.radiographs import read_radiograph
from synthzoo.io.reading import kind_of_input
from synthzoo.io.volumes import read_volume
from synthzoo.serving.served import ServedBundle


def test_every_bundle_that_takes_images_names_an_example():
    for bundle in find_bundles(ROOT):
        takes = "images" in read_json(bundle / "configs" / "inference.json")
        assert (read_metadata(bundle)["synthzoo"].get("example_input") in EXAMPLES) == takes, bundle.name


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_seed_gives_the_same_file_and_another_seed_another_one(kind, tmp_path):
    first, again, other = (write_example(kind, tmp_path / name, seed) for name, seed in zip("abc", (3, 3, 4)))
    assert first.name == again.name and first.read_bytes() == again.read_bytes()
    assert first.read_bytes() != other.read_bytes()
    mark = read_mark(first)
    assert mark.synthetic and mark.record["phantom"] == kind and mark.record["seed"] == 3


def test_the_readers_of_the_bundles_take_the_examples(tmp_path):
    video = write_example("echo_video", tmp_path)
    clip, window = read_beat(video)
    assert clip.shape == (1, 16, 32, 32) and window["video_frames"] == 50 and window["video_fps"] == 32
    assert read_frame(video)[0].shape == (1, 32, 32)
    array, affine = read_volume(write_example("brain_labels", tmp_path))
    assert array.max() >= 4 and abs(affine[:3, :3]).max() == 2.0
    radiograph = read_radiograph(write_example("chest_radiograph", tmp_path))
    assert radiograph.levels.shape == (1, 384, 384) and radiograph.likeness > 0.6 and not radiograph.turned


def test_a_server_is_measured_with_what_each_bundle_takes(tmp_path):
    [measure] = functions(ROOT / "scripts" / "benchmark_serving.py")
    module = sys.modules[measure.__module__]
    kinds = {"chest_radiograph": "image", "brain_picture": "image", "echo_video": "video"}
    kinds |= {"garment_photograph": "image", "scene_photograph": "image"}
    for bundle in find_bundles(ROOT):
        own, folder = ServedBundle(bundle), tmp_path / bundle.name
        folder.mkdir()
        path = module.input_of(own, folder, 6.0)
        if not own.takes_images:
            assert path is None and module.size_of(path) == "none, it makes one"
            continue
        expected = kinds.get(own.block["example_input"], "volume")
        assert kind_of_input(path) == expected and path.name.endswith((".nii.gz", ".png"))
        assert len(module.size_of(path).split("x")) == {"image": 2, "volume": 3, "video": 4}[expected]


def test_an_unknown_kind_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(UserError, match="'knee', but must be one of brain_flair"):
        write_example("knee", tmp_path)


def test_the_word_example_makes_the_same_input_each_time(tmp_path):
    root = Path(__file__).parents[2] / "bundles" / "echo_us_privacy_audit_reid"
    settings = {"kinds": ("video",), "loader": dict, "bundle_root": str(root), "suffix": "reid.tsv"}
    table = ImageTable("example", output_dir=str(tmp_path / "out"), **settings)
    again = ImageTable("example", output_dir=str(tmp_path / "other"), **settings)
    assert table.paths == [tmp_path / "out" / "example_input" / "example-0_echo.avi"]
    assert table.record(0) == again.record(0) and table.cases == ["example-0_echo"]
    assert ImageTable("example", **settings).paths[0].is_file()
    with pytest.raises(UserError, match="names no example_input: give a path"):
        ImageTable("example", output_dir=str(tmp_path))
