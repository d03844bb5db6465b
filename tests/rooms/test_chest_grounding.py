"""Phrases with boxes as an evaluation set: unions, the published crop, words of findings, and what is left out."""

import numpy as np
import pytest
from PIL import Image

from synthzoo.datasets.chest.grounding import GroundingRadiographs, grounding_rows, query_words
from synthzoo.errors import UserError

HEADER = "category_name,label_text,x,y,w,h,image_width,image_height,dicom_id,path"
FOLDER = "files/p10/p10000032/s50414267"
ONE, TWO = "02aa804e-bde0afdd", "2a2277a9-b0ded155"


def picture(path, width, height):
    """A ramp from left to right, whose level says where a pixel was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))).save(path)


@pytest.fixture
def mscxr(tmp_path):
    """Two radiographs, 300 x 200 and 200 x 400 pixels at half their size; boxes are of the full size."""
    wide, high = (f"{FOLDER}/{name}.jpg" for name in (ONE, TWO))
    lines = [
        f"Pleural Effusion,Small left  effusion,120,80,100,60,600,400,{ONE},{wide}",
        f"Pleural Effusion,Small left effusion,400,200,100,100,600,400,{ONE},{wide}",
        f"Pleural Effusion,Bilateral pleural effusions,300,100,60,60,600,400,{ONE},{wide}",
        f"Cardiomegaly,the heart is enlarged,200,100,200,200,600,400,{ONE},{wide}",
        f"Pneumothorax,apical pneumothorax,0,0,80,80,400,800,{TWO},{high}",
        f"Pneumothorax,apical pneumothorax on the left,40,150,100,100,400,800,{TWO},{high}",
    ]
    (tmp_path / "MS_CXR_Local_Alignment_v1.0.0.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    picture(tmp_path / wide, 300, 200)
    picture(tmp_path / high, 200, 400)
    return tmp_path


def test_rows_of_a_phrase_become_one_truth_and_cut_boxes_are_counted(mscxr, capsys):
    rows = grounding_rows(mscxr, "mscxr", size=128)
    assert [(row["case"], row["finding"], row["phrase"], len(row["boxes"])) for row in rows] == [
        (ONE, "Pleural Effusion", "Small left effusion", 2),
        (ONE, "Pleural Effusion", "Bilateral pleural effusions", 1),
        (ONE, "Cardiomegaly", "the heart is enlarged", 1),
        (TWO, "Pneumothorax", "apical pneumothorax on the left", 1),
    ]
    said = capsys.readouterr().err
    assert "4 phrases with boxes on 2 radiographs; left out: 1 whose boxes the crop to a square cuts off." in said
    assert rows[0]["words"] == ("pleural", "effusion", "effusions") and rows[0]["patient"] == "10000032"
    assert len(grounding_rows(mscxr, "mscxr", size=128, fit="pad")) == 5


def test_only_phrases_that_hold_the_findings_name(mscxr, capsys):
    rows = grounding_rows(mscxr, "mscxr", named_only=True)
    assert [row["phrase"] for row in rows] == ["Bilateral pleural effusions", "apical pneumothorax on the left"]
    assert "2 without the finding's name; 1 whose boxes" in capsys.readouterr().err


def test_boxes_go_the_way_of_their_image(mscxr):
    """Shorter side to the grid's size, middle cut out: 300 x 200 pixels lose 50 on the left and on the right."""
    rows = grounding_rows(mscxr, "mscxr", size=100)
    data = GroundingRadiographs(rows, size=100, intensity="none")
    first = data[0]
    assert first["image"].shape == first["box_mask"].shape == (1, 100, 100)
    # Full size 600 x 400 -> file 300 x 200 -> minus 50 across -> halved.
    assert np.allclose(first["boxes"], [[5, 20, 30, 35], [75, 50, 100, 75]])
    truth = np.zeros((100, 100), bool)
    truth[20:35, 5:30] = truth[50:75, 75:100] = True
    assert np.array_equal(first["box_mask"][0].numpy().astype(bool), truth)
    levels = np.linspace(0, 1, 300)[50:250].reshape(100, 2).mean(1)
    assert np.abs(first["image"][0, 50].numpy() - levels).max() < 0.02
    assert (first["phrase"], first["finding"]) == ("Small left effusion", "Pleural Effusion")
    high = data[3]  # 200 x 400: 100 above and below are cut off, the rest halved; of the box 12.5 of 50 are left
    assert np.allclose(high["boxes"], [[10, 0, 35, 12.5]]) and int(high["box_mask"].sum()) == 25 * 12


def test_boxes_of_chestxray14_are_phrases_by_their_findings(tmp_path):
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
    )
    names = ["00000001_000.png", "00000002_000.png"]
    table = [header, *(f"{name},Effusion,0,{n + 1},58,M,PA,2500,2000,0.143,0.143," for n, name in enumerate(names))]
    (tmp_path / "Data_Entry_2017.csv").write_text("\n".join(table) + "\n")
    boxes = ["Image Index,Finding Label,Bbox [x,y,w,h],,,"]
    boxes += [f"{names[0]},Effusion,100,200,300,400,,,", f"{names[0]},Effusion,600,200,100,100,,,"]
    boxes += [f"{names[0]},Infiltrate,0,0,512,512,,,"]
    (tmp_path / "BBox_List_2017.csv").write_text("\n".join(boxes) + "\n")
    (tmp_path / "train_val_list.txt").write_text(f"{names[1]}\n")
    (tmp_path / "test_list.txt").write_text(f"{names[0]}\n")
    for name in names:
        picture(tmp_path / "images" / name, 256, 256)
    rows = grounding_rows(tmp_path, "chestxray14")
    assert [(row["phrase"], row["words"], len(row["boxes"]), row["split"]) for row in rows] == [
        ("effusion", ("pleural", "effusion", "effusions"), 2, "test"),
        ("infiltration", ("infiltration",), 1, "test"),
    ]
    found = GroundingRadiographs(rows)[0]
    assert np.allclose(found["boxes"], [[50, 100, 200, 300], [300, 100, 350, 150]])
    assert int(found["box_mask"].sum()) == 150 * 200 + 50 * 50


@pytest.mark.parametrize(
    "finding, words",
    [
        ("Atelectasis", ("atelectasis", "atelectatic")),
        ("Lung Opacity", ("opacity", "opacities", "opacification")),
        ("Pleural_Thickening", ("pleural", "thickening")),
        ("Nodule/Mass", ("nodule", "mass")),
    ],
)
def test_a_finding_has_its_words(finding, words):
    assert query_words(finding) == words


def test_what_cannot_be_evaluated_is_said(mscxr):
    with pytest.raises(
        UserError, match="data_format = 'mimic': phrases and boxes are read of mscxr, chestxray14, vindr"
    ):
        grounding_rows(mscxr, "mimic")
    with pytest.raises(UserError, match="data_format is mscxr, but dataset_dir is empty"):
        grounding_rows("", "mscxr")
    table = mscxr / "MS_CXR_Local_Alignment_v1.0.0.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], lines[4]]) + "\n")
    with pytest.raises(UserError, match="has no phrase with a box to evaluate; left out: 1 without the finding's name"):
        grounding_rows(mscxr, "mscxr", named_only=True)
