"""Label maps of brains: phantoms and their paintings, tables of other tools, and label maps and styles of one's own."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from synthzoo.cases.examples import write_example
from synthzoo.datasets.brain.label_cases import (
    PlaceOnGridd,
    ReadLabelMapd,
    label_cases,
    maps_on_grid,
    prepare_labels,
    read_labels,
)
from synthzoo.datasets.brain.label_slices import CONDITIONS, LabelSlices, PaintedSlices
from synthzoo.datasets.brain.label_tables import TABLES, named_values, translate
from synthzoo.datasets.brain.styles import read_style, read_styles, style_outputs
from synthzoo.errors import UserError
from synthzoo.io.files import write_bytes
from synthzoo.io.images import png_bytes
from synthzoo.io.nifti import write_nifti
from synthzoo.phantoms.brain.label_maps import (
    CLASSES,
    VALUES,
    label_maps,
    shared_out,
    to_values,
    volumes_ml,
)
from synthzoo.phantoms.brain.label_pool import DISEASES, SLICE_SHAPE, draw_disease, load_label_pool
from synthzoo.phantoms.brain.painting import CONTRASTS, PEAK, Scan, class_values, draw_scan, paint_maps
from synthzoo.phantoms.brain.phantom import draw_params, make_anatomy
from synthzoo.phantoms.brain.pool import GRID

TUMOUR = {"core_ml": 6.0, "enhancing_ml": 9.0, "oedema_ml": 40.0}


@pytest.fixture(scope="module")
def anatomy():
    return make_anatomy(replace(draw_params(3), wmh_ml=12.0, tumour=TUMOUR), 4.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pools")


@pytest.fixture(scope="module")
def example(folder):
    return write_example("brain_labels", folder)


def indices(*names: str) -> list[int]:
    return [CLASSES.index(name) for name in names]


# --- phantoms --------------------------------------------------------------------------------------------------------


def test_maps_share_out_every_voxel_and_hold_the_lesions_that_were_asked_for(anatomy):
    maps = label_maps(anatomy)
    assert maps.shape == (len(CLASSES), *anatomy.tissues.shape[1:])
    assert np.allclose(maps.sum(0), 1, atol=1e-5) and maps.min() >= 0
    found, params = volumes_ml(maps, 0.064), anatomy.params
    for name in ("core", "enhancing", "oedema"):
        assert found[name] == pytest.approx(params.tumour[f"{name}_ml"], rel=0.1)  # some share a voxel with WMH
    assert 0 < found["WMH"] <= params.wmh_ml * 1.01
    assert found["deep_GM"] > 10


def test_parts_without_a_class_count_to_another_and_no_voxel_is_claimed_twice():
    one = np.ones((2, 2, 2), np.float32)
    maps = shared_out({"WM": 0.8 * one}, {"solid": 0.5 * one, "oedema": one})
    assert maps[CLASSES.index("core"), 0, 0, 0] == pytest.approx(0.8 / 3)
    assert maps[CLASSES.index("oedema"), 0, 0, 0] == pytest.approx(1.6 / 3)
    assert maps[CLASSES.index("WM")].max() == 0 and maps[0].min() == pytest.approx(0.2)


def test_written_values_are_those_of_the_phantoms_label_maps(anatomy):
    values = to_values(np.arange(len(CLASSES)))
    assert values.tolist() == [VALUES[name] for name in CLASSES]
    names = named_values()
    assert names["2"] == "WM" and names["5"] == "lesion WMH" and "0" not in names


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_every_contrast_has_its_order_of_intensities(contrast):
    values = dict(zip(CLASSES, class_values(contrast, np.random.default_rng(3), spread=0.0)))
    assert values["background"] == 0 and max(values[name] for name in ("CSF", "GM", "WM", "deep_GM")) == pytest.approx(
        PEAK
    )
    if contrast == "T1w":
        assert values["CSF"] < values["GM"] < values["deep_GM"] < values["WM"]
    if contrast == "T2w":
        assert values["CSF"] > values["GM"] > values["WM"]
    if contrast == "FLAIR":
        assert values["CSF"] < values["WM"] < values["oedema"]
    if contrast == "T1Gd":
        assert values["enhancing"] > values["WM"]


def test_an_unknown_contrast_is_named():
    with pytest.raises(UserError, match=r"contrast = 'T3'.*T1w"):
        draw_scan("T3", np.random.default_rng(0))


def test_a_painted_map_has_the_values_of_its_classes_and_nothing_outside():
    maps = np.zeros((len(CLASSES), 20, 30), np.float32)
    maps[0], maps[4, 5:15, 5:25] = 1, 1
    maps[0, 5:15, 5:25] = 0
    scan = Scan(np.linspace(0, 1, len(CLASSES)).astype(np.float32), noise=0, bias=0, texture=0)
    image = paint_maps(maps, scan, np.random.default_rng(0))
    assert np.allclose(image[5:15, 5:25], 0.4) and image[0].max() == 0
    noisy = paint_maps(maps, Scan(scan.values, noise=0.05, bias=0.2, blur=0.5), np.random.default_rng(0))
    assert noisy[0].max() == 0 and 0.01 < noisy[8:12, 8:22].std() < 0.2


def test_slices_state_their_own_millilitres_and_where_they_lie(folder):
    rows = LabelSlices(subjects=1, slices=3, cache_dir=folder, mirror=False)
    again = load_label_pool("train", 1, 3, folder)
    assert len(rows) == len(again) == 3 and np.array_equal(rows.pool.maps, again.maps)
    heights = [float(rows[row]["conditions"][-1]) for row in range(3)]
    assert heights == sorted(heights) and heights[0] >= 0.3 and heights[-1] <= 0.9
    for row in range(3):
        found = rows[row]
        assert found["labels"].shape == (len(CLASSES), *SLICE_SHAPE)
        assert torch.allclose(found["labels"].sum(0), torch.ones(SLICE_SHAPE), atol=1e-4)
        area = found["labels"][CLASSES.index("ventricle")].sum() * 0.008
        assert found["conditions"][CONDITIONS.index("ventricle_ml")] == pytest.approx(float(area), rel=1e-4)


def test_every_disease_has_its_share_of_the_subjects():
    drawn = [{lesion.kind for lesion in draw_disease(seed)} for seed in range(200)]
    assert sum(not kinds for kinds in drawn) == pytest.approx(200 * DISEASES[""], abs=15)
    for kind in ("tumour", "WMH", "stroke"):
        assert sum(kind in kinds for kinds in drawn) >= 0.75 * 200 * DISEASES[kind]
    assert draw_disease(7) == draw_disease(7) != draw_disease(7, attempt=1)


def test_a_painted_row_repeats_where_it_is_fixed_and_its_styles_are_other_slices(folder):
    fixed = PaintedSlices(["FLAIR"], fixed=True, subjects=1, slices=3, cache_dir=folder)
    one, two = fixed[1], fixed[1]
    assert all(torch.equal(one[name], two[name]) for name in ("labels", "image", "style", "other_style"))
    assert not torch.equal(one["image"], one["style"]) and not torch.equal(one["style"], one["other_style"])
    inside = one["labels"][0] < 0.5
    fluid = (one["labels"][indices("CSF", "ventricle")].sum(0) > 0.9) & inside
    assert one["image"][0][fluid].mean() < one["image"][0][inside].mean()


@pytest.mark.parametrize("wrong", [{"split": "exam"}, {"subjects": 0}, {"slices": 2}])
def test_a_pool_names_a_setting_that_it_cannot_have(wrong, folder):
    with pytest.raises(UserError, match=next(iter(wrong))):
        load_label_pool(**{"subjects": 1, "slices": 3, "folder": folder, **wrong})


# --- tables of other tools -------------------------------------------------------------------------------------------


def test_freesurfer_and_synthseg_values_become_classes():
    values = np.array([0, 2, 42, 4, 24, 10, 16, 77, 1012, 2035, 251, 3007])
    numbers, table = translate(values, "aseg.nii.gz")
    names = [CLASSES[number] for number in numbers]
    assert table == "freesurfer"
    assert names == ["background", "WM", "GM", "ventricle", "CSF", "deep_GM", "WM", "WMH", "GM", "GM", "WM", "WM"]


def test_parts_of_a_tumour_in_both_numberings_of_brats():
    numbers, _ = translate(np.array([0, 1, 2, 3, 4]), "seg.nii.gz", "brats")
    assert [CLASSES[number] for number in numbers] == ["background", "core", "oedema", "enhancing", "enhancing"]


def test_an_unknown_label_is_named_with_file_value_and_remedy():
    with pytest.raises(UserError) as caught:
        translate(np.array([0, 2, 9999, 9999, 41]), "head_aseg.nii.gz")
    said = str(caught.value)
    assert "head_aseg.nii.gz" in said and "9999 (2 voxels)" in said and "label_table" in said


@pytest.mark.parametrize(
    "values, table, words",
    [
        ([0, 1, 2, 4], "auto", "let label_table be synthzoo or brats"),
        ([0, 0], "freesurfer", "background alone"),
        ([0.5, 1], "auto", "0.5, which is no label"),
        ([0, 1], "fsl", "label_table = 'fsl'"),
        ([0, 7], "brats", "7 (1 voxels)"),
    ],
)
def test_what_no_table_can_read_is_said(values, table, words):
    with pytest.raises(UserError) as caught:
        translate(np.array(values), "labels.nii.gz", table)
    assert words in str(caught.value)


def test_every_class_of_every_table_is_one_of_ours():
    assert all(name in CLASSES for table in TABLES.values() for name in table.values())


# --- label maps of one's own -----------------------------------------------------------------------------------------


def test_our_own_map_is_known_by_its_mark_and_comes_to_the_grid(example):
    numbers, affine, table = read_labels(example)
    assert table == "synthzoo"
    maps, grid_affine = maps_on_grid(numbers, affine)
    assert np.allclose(np.linalg.norm(grid_affine[:3, :3], axis=0), 2.0)
    assert maps.shape == (len(CLASSES), *GRID) and np.allclose(maps.sum(0), 1, atol=1e-5)
    voxels = volumes_ml(np.stack([numbers == number for number in range(len(CLASSES))]), 0.008)
    found = volumes_ml(maps, 0.008)
    assert all(found[name] == pytest.approx(voxels[name], rel=0.02) for name in ("GM", "WM", "ventricle"))


def test_orientation_and_spacing_of_the_file_change_hardly_anything(example, tmp_path):
    image = nib.load(example)
    fine = np.kron(np.asarray(image.dataobj), np.ones((2, 2, 1), np.uint8))
    affine = image.affine @ np.diag([0.5, 0.5, 1, 1])
    affine[:3, 3] = image.affine[:3, 3] - [0.5, 0.5, 0]
    turned = nib.Nifti1Image(fine, affine).as_reoriented(np.array([[1, -1], [0, 1], [2, -1]]))
    path = tmp_path / "turned.nii.gz"
    write_nifti(path, np.asarray(turned.dataobj), turned.affine)
    one = ReadLabelMapd()({"image": str(example)})
    two = ReadLabelMapd("synthzoo")({"image": str(path)})
    assert one["image"].shape == (len(CLASSES), *SLICE_SHAPE) and one["label_table"] == "synthzoo"
    # The finer file is smoothed by the resolution that it loses, so thin sulci may close.
    assert (one["image"].argmax(0) == two["image"].argmax(0)).float().mean() > 0.95


def test_lesions_of_a_second_map_lie_over_the_tissues_within_the_brain(example, tmp_path):
    image = nib.load(example)
    tumour = np.zeros(image.shape, np.uint8)
    tumour[40:52, 50:62, 40:60] = 2
    tumour[44:48, 54:58, 44:56] = 4
    tumour[:4] = 1  # outside the head
    path = tmp_path / "tumour.nii.gz"
    write_nifti(path, tumour, image.affine)
    maps = ReadLabelMapd(lesions=path, height=None)({"image": str(example)})["image"]
    found = volumes_ml(maps.numpy(), 0.008)
    assert found["enhancing"] == pytest.approx(4 * 4 * 12 * 0.008, rel=0.05) and found["core"] == 0
    with pytest.raises(UserError, match="holds lesions alone"):
        ReadLabelMapd("brats")({"image": str(path)})
    write_nifti(path, tumour[:-2], image.affine)
    with pytest.raises(UserError, match="another grid"):
        ReadLabelMapd(lesions=path)({"image": str(example)})


def test_what_is_painted_on_a_label_map_of_ones_own_lies_where_that_map_lies(example):
    given = ReadLabelMapd(height=None)({"image": str(example)})["image"]
    image = nib.load(example)
    painted = PlaceOnGridd(["pred"])({"image": given, "pred": given[:1].as_tensor()})["pred"]
    middle = [np.argwhere(np.asarray(part) > 0).mean(0) for part in (image.dataobj, 1 - given[0].numpy() > 0.5)]
    world = [(affine @ [*at, 1])[:3] for affine, at in zip((image.affine, painted.affine.numpy()), middle)]
    assert np.allclose(*world, atol=1.0)
    generated = PlaceOnGridd(["pred"])({"image": torch.zeros(8, 2, 2, 2), "pred": torch.zeros(1, *GRID)})["pred"]
    assert generated.affine[:3, 3].tolist() == [-(n - 1.0) for n in GRID]


def test_labels_of_no_brains_size_are_refused():
    numbers = np.zeros((60, 60, 60), np.uint8)
    numbers[10:50, 10:50, 10:50] = 4
    for side in (0.1, 20):
        with pytest.raises(UserError, match="which no brain does"):
            maps_on_grid(numbers, np.diag([side, side, side, 1.0]))


def test_cases_are_requests_or_label_maps(example, tmp_path):
    rules = {"WMH_ml": {"type": "number", "minimum": 0, "maximum": 3, "unit": "mL"}}
    requests = label_cases("", rules, {"WMH_ml": [0.1, 2.0]}, num_samples=2, output_dir=tmp_path)
    batch = {"image": requests[1]["image"][None], "conditions": requests[1]["conditions"][None]}
    inputs, _, _, known = prepare_labels(batch)
    assert inputs.shape == (1, 3, 28, 24) and float(known["conditions"]) == 2.0
    own = label_cases(str(example), rules, {"slice_height": 0.5}, loader=ReadLabelMapd(height=0.5), output_dir=tmp_path)
    assert len(own) == 1 and own.settings == {"slice_height": 0.5}
    with pytest.raises(UserError, match="slice_height is 1.5"):
        ReadLabelMapd(height=1.5)


# --- styles ----------------------------------------------------------------------------------------------------------


def test_a_style_is_a_contrast_or_a_stripped_scan(tmp_path, anatomy):
    slices = {name: read_style(name) for name in ("T1w", "T2w")}
    assert all(one.shape == (1, *SLICE_SHAPE) and one.min() >= 0 and one.max() <= 1 for one in slices.values())
    assert not torch.allclose(slices["T1w"], slices["T2w"])
    image = paint_maps(label_maps(anatomy), draw_scan("T2w", np.random.default_rng(1)), np.random.default_rng(1))
    write_nifti(tmp_path / "scan.nii.gz", 900 * image, anatomy.affine)
    own = read_style(tmp_path / "scan.nii.gz")
    assert own.shape == (1, *SLICE_SHAPE) and float(own.max()) == pytest.approx(PEAK, abs=0.25)
    z = np.where(image > 0, (image - 0.4) / 0.2, 0)
    write_nifti(tmp_path / "scored.nii.gz", z.astype(np.float32), anatomy.affine)
    assert torch.allclose(read_style(tmp_path / "scored.nii.gz"), own, atol=0.25)


def test_a_style_that_is_none_is_refused(tmp_path):
    with pytest.raises(UserError, match="style is 'T9'"):
        read_style("T9")
    noise = np.random.default_rng(0).random((40, 40, 40)).astype(np.float32)
    write_nifti(tmp_path / "head.nii.gz", noise, np.diag([4.0, 4.0, 4.0, 1.0]))
    with pytest.raises(UserError, match="strip the skull"):
        read_style(tmp_path / "head.nii.gz")


# --- flat label maps, and what a result depends on -------------------------------------------------------------------


@pytest.fixture
def flat(tmp_path):
    """A label map as the bundle writes it, as values uint8 (h, w), and its file."""
    values = np.zeros(SLICE_SHAPE, np.uint8)
    values[20:80, 15:65] = VALUES["GM"]
    values[30:70, 25:55] = VALUES["WM"]
    values[40:50, 30:40] = VALUES["core"]
    path = tmp_path / "sub-0001_dseg.png"
    write_bytes(path, png_bytes(values))
    return values, path


def test_a_flat_map_of_the_network_s_pixels_is_taken_as_it_is(flat):
    values, path = flat
    found = ReadLabelMapd("synthzoo")({"image": str(path)})["image"].numpy()
    assert found.shape == (len(CLASSES), *SLICE_SHAPE) and np.array_equal(found.sum(0), np.ones(SLICE_SHAPE))
    assert np.array_equal(to_values(found.argmax(0)), values)


def test_a_flat_map_of_another_size_in_colour_or_for_volumes_is_refused(flat, tmp_path):
    values, path = flat
    with pytest.raises(UserError, match="is flat, but this model takes volumes"):
        ReadLabelMapd("synthzoo", height=None)({"image": str(path)})
    write_bytes(tmp_path / "small.png", png_bytes(values[:60]))
    with pytest.raises(UserError, match=r"small.png has 80 x 60 pixels, but a flat one has 80 x 96 of 2 mm"):
        ReadLabelMapd("synthzoo")({"image": str(tmp_path / "small.png")})
    write_bytes(tmp_path / "colours.png", png_bytes(np.stack([values, values // 2, values])))
    with pytest.raises(UserError, match=r"colours.png has colours"):
        ReadLabelMapd("synthzoo")({"image": str(tmp_path / "colours.png")})


def test_style_and_lesions_stand_in_the_sidecar_by_name_and_content(flat, example, tmp_path):
    rules = {"WMH_ml": {"type": "number", "minimum": 0, "maximum": 3, "unit": "mL"}}
    painting = {"style": str(example), "lesions": str(flat[1])}
    own = label_cases(str(example), rules, {}, painting=painting, loader=ReadLabelMapd(), output_dir=tmp_path / "out")
    stated = own.request(0)["settings"]
    assert {name: value["name"] for name, value in stated.items()} == {"style": example.name, "lesions": flat[1].name}
    assert all(len(value["sha256"]) == 64 for value in stated.values())
    named = label_cases("", rules, {}, painting={"style": "FLAIR", "lesions": None}, output_dir=tmp_path / "out")
    assert named.settings == {"style": "FLAIR"}
    with pytest.raises(UserError, match="lesions are laid over the tissues of a label map"):
        label_cases("", rules, {}, painting=painting, output_dir=tmp_path / "out")


def test_several_styles_have_a_file_each():
    found = read_styles("T1w", ["FLAIR", "T2w"])
    outputs = style_outputs("T1w", ["FLAIR", "scan.nii.gz"])
    assert list(found) == ["pred", "pred_2", "pred_3"] and not torch.equal(found["pred"], found["pred_2"])
    assert outputs == {
        "pred": "T1w.nii.gz",
        "pred_2": "FLAIR.nii.gz",
        "pred_3": "style-3_MR.nii.gz",
        "dseg": "dseg.nii.gz",
    }
    assert style_outputs("random", "T2w") == {"pred": "MR.nii.gz", "pred_2": "T2w.nii.gz", "dseg": "dseg.nii.gz"}
    assert list(style_outputs("scan.nii.gz", "").values()) == ["MR.nii.gz", "dseg.nii.gz"]
    with pytest.raises(UserError, match="name a contrast twice; give each once"):
        style_outputs("FLAIR", "FLAIR")
