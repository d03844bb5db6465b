"""Masks of a word in a folder of photographs, and the stages of training, with a network that is small and random."""

import json

import numpy as np
import pytest
import torch
from monai.data import decollate_batch, list_data_collate
from PIL import Image
from small_concept_model import small_concepts

from synthzoo.errors import UserError
from synthzoo.results.coco import WriteCoco, mask_of
from synthzoo.systems.foreground_background.cases import (
    SHAPE,
    PlaceMasks,
    ReadPhotographd,
    SaveMasks,
    concept_table,
    prepare_photographs,
)
from synthzoo.systems.foreground_background.dataset import (
    CaptionedLatents,
    RemovalRows,
    made_masks,
    named_concepts,
    segmentation_rows,
)
from synthzoo.systems.foreground_background.inferer import ConceptInferer
from synthzoo.systems.foreground_background.network import begin_removal
from synthzoo.systems.foreground_background.objective import SegmentationObjective
from synthzoo.systems.foreground_background.sources import concept_rows

QUICK = {"timesteps": (1, 41), "steps": 2}


def levels(height, width):
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 255 // height, columns * 255 // width, (rows + columns) % 256], -1).astype(np.uint8)


@pytest.fixture
def photographs(tmp_path):
    """Photographs as telephones, cameras and designers leave them, three of which cannot be used."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(levels(40, 90)).save(folder / "turned.jpg", exif=exif)
    Image.fromarray(levels(70, 50)).save(folder / "plain.png")
    Image.fromarray(levels(30, 64)[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    clear = np.dstack([levels(30, 30), np.full((30, 30), 255, np.uint8)])
    Image.fromarray(clear).save(folder / "opaque.png")
    clear[:5, :, 3] = 0
    Image.fromarray(clear).save(folder / "transparent.png")
    (folder / "cut.jpg").write_bytes((folder / "turned.jpg").read_bytes()[:300])
    Image.new("L", (9000, 4)).save(folder / "huge.png")
    return folder


def run(images, folder, stage="refined", concept="dog", network=None):
    network = network or small_concepts()
    inferer, read = ConceptInferer(concept, stage, **QUICK), ReadPhotographd(64)
    table = concept_table(images, concept, network, inferer, read, output_dir=str(folder), bundle="concepts")
    place, save = PlaceMasks(concept), SaveMasks(table)
    for row in range(len(table)):
        images, _, _, known = prepare_photographs(batch := list_data_collate([read(table[row])]))
        batch["pred"] = inferer(images, network, **known)
        for sample in decollate_batch(batch):
            save(place(sample))
    WriteCoco(table, concept)()
    return table


def test_a_folder_of_photographs_becomes_masks_on_their_own_pixels_and_one_coco_file(photographs, tmp_path, capsys):
    table = run(str(photographs), tmp_path / "out")
    assert {path.name for path in table.paths} == {path.name for path in photographs.iterdir()} and len(table.rows) == 4
    said = capsys.readouterr().err
    for name, why in (("transparent", "transparent in places"), ("cut", "damaged JPEG"), ("huge", "at most 8192")):
        assert any(name in line and why in line for line in said.splitlines()), name
    sizes = {"turned": (40, 90), "plain": (50, 70), "deep": (64, 30), "opaque": (30, 30)}
    for case, size in sizes.items():
        record = json.loads(table.sidecar(case).read_text(encoding="utf-8"))
        assert record["settings"]["stage"] == "refined" and record["settings"]["concept"] == "dog"
        assert record["labels"] == {"1": "dog"}
        for suffix, mode in (("heatmap.png", "I;16"), ("dseg.png", "L"), ("background.png", "RGB")):
            with Image.open(table.path(case, suffix)) as picture:
                assert picture.size == size and picture.mode == mode, (case, suffix)
    found = json.loads((tmp_path / "out" / "coco.json").read_text(encoding="utf-8"))
    assert {one["file_name"] for one in found["images"]} == {"turned.jpg", "plain.png", "deep.png", "opaque.png"}
    assert found["categories"] == [{"id": 1, "name": "dog"}]
    for image in found["images"]:
        own = [one for one in found["annotations"] if one["image_id"] == image["id"]]
        total = sum((mask_of(one["segmentation"]["counts"], one["segmentation"]["size"]) for one in own), 0)
        with Image.open(table.path(image["case"], "dseg.png")) as mask:
            truth = np.asarray(mask) > 0
        assert (
            np.sum(total) == sum(one["area"] for one in own) >= truth.sum() - 4 * 100
            and image["width"] == truth.shape[1]
        )


def test_a_second_run_does_what_is_left(photographs, tmp_path):
    first = run(str(photographs / "plain.png"), tmp_path / "out", "weak")
    stamp = first.path("plain").stat().st_mtime_ns
    second = run(str(photographs), tmp_path / "out", "weak")
    assert second.skipped == 1 and second.path("plain").stat().st_mtime_ns == stamp and second.path("turned").is_file()
    assert not second.path("plain", "background.png").exists()
    with pytest.raises(UserError, match="another request"):
        run(str(photographs / "plain.png"), tmp_path / "out", "refined")


@pytest.mark.parametrize(
    "concept, stage, said",
    [
        ("grass", "trained", "trained on person, dog, car, bird"),
        ("zebra", "weak", "does not know the word 'zebra'"),
        ("", "weak", "must name what is sought, such as 'dog'"),
        ("dog", "best", "trained, refined, weak"),
    ],
)
def test_a_bad_concept_or_stage_is_one_sentence(photographs, tmp_path, concept, stage, said):
    with pytest.raises(UserError, match=said):
        run(str(photographs / "plain.png"), tmp_path / "out", stage, concept)
    assert not (tmp_path / "out" / "plain").exists()


def test_a_concept_gets_the_best_stage_that_it_can():
    network = small_concepts(("dog", "car"))
    assert (
        ConceptInferer(" Dog").stage_for(network) == "trained"
        and ConceptInferer("tree").stage_for(network) == "refined"
    )
    found = ConceptInferer("dog")(torch.rand(2, 3, 64, 64), network, torch.tensor([[50, 100], [64, 64]]))
    assert found["pred"][0, 0, :16].max() == 0 < found["pred"][0, 0, 20:40].max()
    assert set(found["mask"].unique().tolist()) <= {0, 1}


def test_a_removal_changes_what_is_masked_and_hardly_what_is_far_away():
    network, image = small_concepts(), torch.rand(1, 3, 64, 64)
    inferer, weak = ConceptInferer("dog", "refined", **QUICK), torch.zeros(1, 1, 64, 64)
    weak[0, 0, 40:56, 40:56] = 1
    with torch.inference_mode():
        found = inferer.remove(image, network.encode(image), weak, network, [(slice(0, 64), slice(0, 64))])
        restored = network.decode(network.encode(image)).clamp(0, 1)
    far = torch.ones(1, 3, 64, 64, dtype=torch.bool)
    far[..., 36:60, 36:60] = False  # a latent has four pixels
    change = (found["background"] - restored).abs()
    assert change[far].max() == 0 < change[..., 40:56, 40:56].mean()
    inferer.composite = False
    with torch.inference_mode():
        whole = inferer.remove(image, network.encode(image), weak, network, [(slice(0, 64), slice(0, 64))])
    change = (whole["background"] - restored).abs()
    assert change[..., 40:56, 40:56].mean() > 3 * change[..., :16, :16].mean() > 0
    assert (found["mask"] * (1 - weak)).sum() <= 64


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return concept_rows("scenes", size=64, count=5, cache_dir=tmp_path_factory.mktemp("scenes"))


def test_masks_are_made_once_for_the_concepts_that_captions_name(rows, tmp_path):
    network, inferer = small_concepts(), ConceptInferer("dog", **QUICK)
    found = made_masks(network, rows, inferer, "weak", tmp_path)
    for row in range(5):
        others = set(range(4)) - set(named_concepts(rows.truth(row)["caption"], network.concepts))
        assert found[row, list(others)].sum() == 0
    (block,) = tmp_path.rglob("*.npy")
    stamp = block.stat().st_mtime_ns
    assert np.array_equal(made_masks(network, rows, inferer, "weak", tmp_path), found)
    assert block.stat().st_mtime_ns == stamp
    block.unlink()  # as a killed run leaves it
    assert np.array_equal(made_masks(network, rows, inferer, "weak", tmp_path), found)
    made_masks(network, rows, ConceptInferer("dog", timesteps=(1,)), "weak", tmp_path)
    assert len(list(tmp_path.rglob("*.npy"))) == 2


def test_every_stage_has_rows_that_its_objective_takes(rows, tmp_path):
    network, inferer = small_concepts(), ConceptInferer("dog", **QUICK)
    np.random.seed(0)
    captioned = CaptionedLatents(network, rows)
    assert captioned[0]["latents"].shape == (4, 16, 16) and captioned[0]["tokens"].shape == (16,)
    removal = RemovalRows(network, rows, inferer, tmp_path)
    kinds = [removal[0]["loss_mask"].min() == 1 for _ in range(40)]
    assert 8 < sum(kinds) < 32
    masks = segmentation_rows(network, rows, inferer, "true")
    batch = list_data_collate([masks[n] for n in range(4)])
    assert batch["image"].shape == (4, 3, 64, 64) and set(batch["mask"].unique().tolist()) == {0, 1}
    loss = SegmentationObjective(0.5)(network.train(), batch)
    loss["loss"].backward()
    assert loss["loss"] > loss["entropy"] and SegmentationObjective().images(network, batch)["segmentation"].shape == (
        1,
        64,
        192,
    )
    with pytest.raises(UserError, match="refined, weak or true"):
        segmentation_rows(network, rows, inferer, "none")


def test_the_removal_begins_with_any_text_to_image_of_the_same_parts(tmp_path):
    network, other = small_concepts(), small_concepts(("tree",))
    with torch.no_grad():
        for part in (other.denoiser, other.autoencoder):
            for parameter in part.parameters():
                parameter.add_(1)
    path = tmp_path / "model.pt"
    before = next(network.segmenter.parameters()).clone()
    for state in (other.state_dict(), {n: v for n, v in other.state_dict().items() if n[:10] != "segmenter."}):
        torch.save(state, path)
        begun = begin_removal(small_concepts(), path)
        assert torch.equal(next(begun.denoiser.parameters()), next(other.denoiser.parameters()))
        assert torch.equal(next(begun.segmenter.parameters()), before)
    del state["latent_mean"]
    torch.save(state, path)
    with pytest.raises(UserError, match="1 tensors missing"):
        begin_removal(network, path)


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"data_format": "coco"}, "scenes, photographs, chest"),
        ({"data_format": "photographs"}, "give the folder"),
        ({"dataset_dir": "somewhere"}, "add --data_format photographs"),
        ({"split": "all"}, "train, validation, test"),
    ],
)
def test_a_source_that_cannot_be_is_one_sentence(settings, said):
    with pytest.raises(UserError, match=said):
        concept_rows(**settings)


def test_shapes_of_photographs_travel_with_them(photographs):
    sample = ReadPhotographd(64)({"image": str(photographs / "turned.jpg")})
    assert sample["image"].shape == (3, 64, 64) and sample[SHAPE].tolist() == [90, 40]
    assert sample["image"][:, :, :17].max() == 0 and sample["image"][:, :, 20:44].max() > 0.5


def test_chest_phantoms_are_rows_whose_captions_name_side_and_finding(tmp_path):
    pool = {"patients": 8, "studies": 1, "findings": ["effusion", "nodule"]}
    rows = concept_rows("chest", size=64, count=3, concepts=["nodule", "effusion"], cache_dir=tmp_path, phantom=pool)
    assert len(rows) == 3 and rows[0]["image"].shape == (1, 64, 64) and rows.cache_dir.name == "first-3"
    for row in range(3):
        named = named_concepts(rows.truth(row)["caption"], rows.concepts)
        shown = [k for k, mask in enumerate(rows.mask(row)) if mask.any()]
        assert named == shown and rows.mask(row).shape == (2, 64, 64)
