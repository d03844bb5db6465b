"""Published layouts of chest radiographs: rows, boxes in the file's pixels, patients in one split, faults by line."""

import csv
import gzip
import json
import math

import numpy as np
import pytest
from dicom_files import dicom
from PIL import Image

from synthzoo.datasets.chest import chestxray14, mimic, vindr
from synthzoo.datasets.chest.chestxray14 import read_boxes
from synthzoo.datasets.chest.mimic import read_report
from synthzoo.datasets.chest.rows import Box, is_held_back
from synthzoo.datasets.chest.sources import ChestRadiographs, read_chest, training_radiographs
from synthzoo.datasets.chest.vindr import agreed, merge_boxes
from synthzoo.errors import UserError
from synthzoo.io import tables

RNG = np.random.default_rng(0)


def shown(height=120, width=100):
    return RNG.integers(0, 256, (height, width), dtype=np.uint8)


def write_table(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines) + "\n"
    path.write_bytes(gzip.compress(text.encode())) if path.suffix == ".gz" else path.write_text(text)


def picture(path, height=120, width=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(shown(height, width)).save(path)


def edit(path, old, new):
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    assert old in text
    write_table(path, text.replace(old, new).splitlines())


# --- MIMIC-CXR-JPG and MS-CXR ----------------------------------------------------------------------------------------

IMAGES = [  # dicom_id, subject, study, view, split
    ("02aa804e-bde0afdd", "10000032", "50414267", "PA", "train"),
    ("174413ec-4ec4c1f7", "10000032", "50414267", "LATERAL", "train"),
    ("2a2277a9-b0ded155", "10000032", "53189527", "AP", "train"),
    ("e084de3b-be89b11e", "10000764", "57375967", "AP", "test"),
    ("68b5c4b1-227d0485", "10000898", "50771383", "PA", "validate"),
    ("8959e402-2175d68d", "10000935", "51178377", "", "train"),
    ("0000aaaa-no00file", "10000935", "51178377", "PA", "train"),
]
META = (
    "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime,"
    "ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning"
)
REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with cough  // ?pneumonia

 FINDINGS:

 The lungs are clear of focal
 consolidation.

 IMPRESSION:

 No acute process.
"""


@pytest.fixture
def mimic_folder(tmp_path):
    write_table(
        tmp_path / "mimic-cxr-2.0.0-metadata.csv.gz",
        [
            META,
            *(
                f'{i},{p},{s},"CHEST (PA, LAT)",{v},3056,2544,21800506,213014.531,CHEST,,Erect'
                for i, p, s, v, _ in IMAGES
            ),
        ],
    )
    write_table(
        tmp_path / "mimic-cxr-2.0.0-split.csv.gz",
        ["dicom_id,study_id,subject_id,split", *(f"{i},{s},{p},{part}" for i, p, s, _, part in IMAGES)],
    )
    studies = dict.fromkeys((p, s) for _, p, s, _, _ in IMAGES)
    labels = ["subject_id,study_id," + ",".join(mimic.FINDINGS)]
    for number, (patient, study) in enumerate(studies):
        cells = [""] * 14
        cells[number], cells[13] = "1.0", "-1.0"
        labels.append(f"{patient},{study},{','.join(cells)}")
    write_table(tmp_path / "mimic-cxr-2.0.0-chexpert.csv.gz", labels)
    for name, patient, study, *_ in IMAGES[:-1]:
        picture(tmp_path / "files" / f"p{patient[:2]}" / f"p{patient}" / f"s{study}" / f"{name}.jpg", 153, 127)
    (tmp_path / "files" / "p10" / "p10000032" / "s50414267.txt").write_text(REPORT)
    return tmp_path


def test_mimic_gives_frontal_views_with_labels_and_says_what_it_leaves_out(mimic_folder, capsys):
    rows = read_chest(mimic_folder, "mimic")
    assert [(row["case"][:8], row["split"], row["view"]) for row in rows] == [
        ("02aa804e", "train", "PA"),
        ("2a2277a9", "train", "AP"),
        ("e084de3b", "test", "AP"),
        ("68b5c4b1", "validation", "PA"),
    ]
    said = capsys.readouterr().err
    for part in (
        "4 radiographs of 3 patients",
        "2 of other views than PA, AP (the first: 174413ec-4ec4c1f7, LATERAL)",
        "1 without a file (the first: 0000aaaa-no00file)",
        "4 of 56 labels are uncertain",
    ):
        assert part in said
    first = rows[0]
    assert first["patient"] == "10000032" and first["study"] == "50414267" and first["line"] == 2
    assert first["labels"]["Atelectasis"] == 1 and first["labels"]["Pneumonia"] == 0
    assert math.isnan(first["labels"]["Support Devices"]) and first["sex"] is first["age"] is None
    sections = read_report(first["report"])
    assert sections["impression"] == "No acute process." and sections["indication"].startswith("F with cough")
    assert sections["findings"] == "The lungs are clear of focal consolidation." and rows[1]["report"] is None
    assert len(read_chest(mimic_folder, "mimic", views=("LATERAL",))) == 1
    assert math.isnan(read_chest(mimic_folder, "mimic", unmentioned=math.nan)[0]["labels"]["Pneumonia"])
    assert [row["split"] for row in read_chest(mimic_folder, "mimic", "val")] == ["validation"]


def test_mimic_takes_sex_and_age_from_the_table_of_patients(mimic_folder):
    write_table(
        mimic_folder / "patients.csv.gz",
        ["subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod", "10000032,F,52,2178,2014 - 2016,"],
    )
    rows = read_chest(mimic_folder, "mimic", "train")
    assert rows[0]["sex"] == "F" and rows[0]["age"] == 54


@pytest.mark.parametrize(
    "table, old, new, sentence",
    [
        ("split", ",train", ",trian", "split.csv.gz line 2, column split: 'trian' is neither train, validate nor test"),
        ("chexpert", "-1.0", "-2", "chexpert.csv.gz line 2, column Support Devices: '-2' must be 1, 0, -1"),
        ("metadata", "10000764", "a764", "metadata.csv.gz line 5, column subject_id: 'a764' is no number"),
        ("metadata", "2a2277a9-b0ded155", "02aa804e-bde0afdd", "line 4: 02aa804e-bde0afdd stands already in line 2"),
        ("metadata", "dicom_id", "dicom", "line 1: has no column dicom_id"),
        ("metadata", "e084de3b-be89b11e", "../../etc", "column dicom_id: '../../etc' is no name of an image"),
        ("split", "2a2277a9-b0ded155,53189527,10000032,train", "2a2277a9-b0ded155,53189527,10000032,test", "two"),
    ],
)
def test_faults_of_mimic_are_named_by_line(mimic_folder, table, old, new, sentence):
    edit(mimic_folder / f"mimic-cxr-2.0.0-{table}.csv.gz", old, new)
    sentence = "line 4: patient 10000032 is in test here and in train in line 2" if sentence == "two" else sentence
    with pytest.raises(UserError) as caught:
        read_chest(mimic_folder, "mimic")
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
    if "patient" in sentence:
        with pytest.raises(UserError, match="keep all images of a patient in one split"):
            read_chest(mimic_folder, "mimic", "validation")  # also where neither of the two is asked for


def test_a_folder_that_is_no_mimic_is_said(tmp_path, mimic_folder):
    for name, sentence in {
        "mimic-cxr-2.0.0-chexpert.csv.gz": "add mimic-cxr-2.0.0-chexpert.csv.gz to dataset_dir, or read without labels",
        "mimic-cxr-2.0.0-split.csv.gz": "dataset_dir is the folder of MIMIC-CXR-JPG",
    }.items():
        kept = (mimic_folder / name).read_bytes()
        (mimic_folder / name).write_bytes(kept[: len(kept) // 2])
        with pytest.raises(UserError, match="is damaged or cut short"):
            read_chest(mimic_folder, "mimic")
        (mimic_folder / name).unlink()
        with pytest.raises(UserError) as caught:
            read_chest(mimic_folder, "mimic")
        assert sentence in str(caught.value)
        if "chexpert" in name:
            assert len(read_chest(mimic_folder, "mimic", labeller=None)) == 4
    with pytest.raises(UserError, match="dataset_dir is empty"):
        read_chest("", "mimic")
    with pytest.raises(UserError, match="read as mimic, mscxr, chestxray14, vindr"):
        read_chest(tmp_path, "chexpert")


MS_HEADER = "category_name,label_text,x,y,w,h,image_width,image_height,dicom_id,path"
MS_PATH = "files/p10/p10000032/s50414267/02aa804e-bde0afdd.jpg"
MS_LINES = [
    f'Pneumothorax,"Large left apical pneumothorax, new",1272,0,636,764,2544,3056,02aa804e-bde0afdd,{MS_PATH}',
    f'Pneumothorax,"Large left apical pneumothorax, new",0,0,254.4,305.6,2544,3056,02aa804e-bde0afdd,{MS_PATH}',
    f"Cardiomegaly,heart is enlarged,600,1500,1000,1000,2544,3056,02aa804e-bde0afdd,{MS_PATH}",
]


def test_mscxr_carries_boxes_and_phrases_to_images_of_another_size(mimic_folder):
    write_table(mimic_folder / "MS_CXR_Local_Alignment_v1.0.0.csv", [MS_HEADER, *MS_LINES])
    [row] = read_chest(mimic_folder, "mscxr")
    assert row["split"] == "test" and row["patient"] == "10000032" and len(row["boxes"]) == 3
    assert row["phrases"] == ["Large left apical pneumothorax, new", "heart is enlarged"]
    assert np.allclose(row["boxes"][0][1:5], np.array([1272, 0, 1908, 764]) * ([127 / 2544, 153 / 3056] * 2))
    assert row["boxes"][0].line == 2 and row["labels"] == {"Cardiomegaly": 1.0, "Pneumothorax": 1.0}
    coco = {
        "categories": [{"id": 4, "name": "Pneumothorax"}],
        "images": [{"id": 9, "file_name": "x.jpg", "path": MS_PATH, "width": 2544, "height": 3056}],
        "annotations": [{"id": 1, "image_id": 9, "category_id": 4, "label_text": "Large", "bbox": [1272, 0, 636, 764]}],
    }
    (mimic_folder / "MS_CXR_Local_Alignment_v1.0.0.csv").unlink()
    (mimic_folder / "MS_CXR_Local_Alignment_v1.0.0.json").write_text(json.dumps(coco))
    [again] = read_chest(mimic_folder, "mscxr")
    assert again["boxes"][0][1:5] == row["boxes"][0][1:5] and again["phrases"] == ["Large"]
    coco["annotations"][0].pop("bbox")
    (mimic_folder / "MS_CXR_Local_Alignment_v1.0.0.json").write_text(json.dumps(coco))
    with pytest.raises(UserError, match="is not the COCO file of MS-CXR .KeyError: 'bbox'."):
        read_chest(mimic_folder, "mscxr")


@pytest.mark.parametrize(
    "old, new, sentence",
    [
        (",1272,0,636,764,", ",2300,0,636,764,", "line 2: the box from (2300, 0) to (2936, 764) does not lie in 02aa"),
        (",1272,0,636,764,", ",1272,0,0,764,", "line 2: the box from (1272, 0) to (1272, 764) does not lie in"),
        (",1272,0,636,764,", ",1272,,636,764,", "line 2: has an empty cell among x, y, w, h"),
        ("heart is enlarged", " ", "line 4: label_text and category_name must not be empty"),
        (
            f"1000,1000,2544,3056,02aa804e-bde0afdd,{MS_PATH}",
            "1000,1000,2544,3056,02aa804e-bde0afdd,x.jpg",
            "line 4, column path",
        ),
        ("1000,1000,2544,3056", "1000,1000,3056,2544", "line 4: 02aa804e-bde0afdd is 3056 x 2544 pixels here"),
    ],
)
def test_faults_of_mscxr_are_named_by_line(mimic_folder, old, new, sentence):
    text = "\n".join([MS_HEADER, *MS_LINES])
    write_table(mimic_folder / "MS_CXR_Local_Alignment_v1.0.0.csv", text.replace(old, new).splitlines())
    with pytest.raises(UserError) as caught:
        read_chest(mimic_folder, "mscxr")
    assert sentence in str(caught.value)
    assert len(read_chest(mimic_folder, "mscxr", leave_out=True)[0]["boxes"]) == 2  # the remedy works


def test_images_that_were_cut_get_no_boxes(mimic_folder):
    write_table(mimic_folder / "MS_CXR_Local_Alignment_v1.0.0.csv", [MS_HEADER, *MS_LINES])
    picture(mimic_folder / MS_PATH, 127, 127)
    with pytest.raises(UserError, match="is 127 x 127 pixels, but its boxes .* drawn on 2544 x 3056: give the images"):
        read_chest(mimic_folder, "mscxr")


# --- ChestX-ray14 ----------------------------------------------------------------------------------------------------

ENTRIES = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
PICTURES = [
    "00000001_000.png,Cardiomegaly,0,1,058Y,M,PA,2682,2749,0.143,0.143,",
    "00000001_001.png,Cardiomegaly|Emphysema,1,1,058Y,M,PA,2894,2729,0.143,0.143,",
    "00000002_000.png,No Finding,0,2,018M,F,AP,2500,2048,0.168,0.168,",
    "00000003_000.png,Hernia|Infiltration,0,3,412,F,PA,2582,2991,0.143,0.143,",
    "00000004_000.png,Mass,0,4,61,M,LL,2582,2991,0.143,0.143,",
]
NIH_BOXES = [
    "Image Index,Finding Label,Bbox [x,y,w,h],,,",
    "00000003_000.png,Infiltrate,225.084745762712,547.019216763771,86.7796610169491,79.1864406779661",
    "00000001_001.png,Cardiomegaly,512,512,512.5,256",
]


@pytest.fixture
def nih(tmp_path):
    write_table(tmp_path / "Data_Entry_2017.csv", [ENTRIES, *PICTURES])
    write_table(tmp_path / "train_val_list.txt", ["00000001_000.png", "00000001_001.png", "00000002_000.png"])
    write_table(tmp_path / "test_list.txt", ["00000003_000.png", "00000004_000.png"])
    write_table(tmp_path / "BBox_List_2017.csv.gz", NIH_BOXES)
    for line, folder in zip(PICTURES, ("images_001", "images_001", "images_002", "images_002", "images_012")):
        picture(tmp_path / folder / "images" / line.split(",")[0], 512, 512)
    return tmp_path


def test_chestxray14_is_read_with_its_odd_headers(nih, capsys):
    rows = read_chest(nih, "chestxray14", validation_share=0)
    assert [(row["patient"], row["split"], row["sex"], row["age"]) for row in rows] == [
        ("1", "train", "M", 58),
        ("1", "train", "M", 58),
        ("2", "train", "F", 1.5),
        ("3", "test", "F", None),
    ]
    assert "1 of other views than PA, AP (the first: 00000004_000.png, LL)" in capsys.readouterr().err
    assert rows[0]["spacing_mm"] == pytest.approx((2749 * 0.143 / 512, 2682 * 0.143 / 512))
    assert sum(rows[1]["labels"].values()) == 2 and not any(rows[2]["labels"].values())
    [box] = rows[3]["boxes"]
    assert box.label == "Infiltration" and np.allclose(
        box[1:5], np.array([225.08, 547.02, 311.86, 626.21]) / 2, atol=0.01
    )
    assert rows[1]["boxes"][0][1:5] == (256, 256, 512, 384)  # half a pixel over the edge is rounding
    assert [row["case"] for row in read_chest(nih, "chestxray14", boxed=True)] == ["00000001_001", "00000003_000"]


def test_the_older_and_the_newer_table_of_chestxray14_give_the_same(nih):
    old = read_chest(nih, "chestxray14")
    (nih / "Data_Entry_2017.csv").unlink()
    lines = [line.rstrip(",").replace("058Y", "58") for line in (ENTRIES, *PICTURES)]
    write_table(nih / "Data_Entry_2017_v2020.csv", lines)
    assert read_chest(nih, "chestxray14") == old


def test_validation_takes_whole_patients(nih):
    lines = [
        f"{n:08d}_{k:03d}.png,No Finding,{k},{n},58,M,PA,2682,2749,0.143,0.143" for n in range(1, 61) for k in (0, 1)
    ]
    write_table(nih / "Data_Entry_2017.csv", [ENTRIES.rstrip(","), *lines])
    write_table(nih / "train_val_list.txt", [line.split(",")[0] for line in lines])
    write_table(nih / "test_list.txt", ["none.png"])
    for line in lines:
        if not (nih / "images_001" / "images" / line.split(",")[0]).exists():
            picture(nih / "images_001" / "images" / line.split(",")[0], 64, 64)
    rows = read_chest(nih, "chestxray14", validation_share=0.2)
    by = {split: {row["patient"] for row in rows if row["split"] == split} for split in ("train", "validation")}
    assert not by["train"] & by["validation"] and 5 <= len(by["validation"]) <= 20
    assert by["validation"] == {str(n) for n in range(1, 61) if is_held_back(str(n), 0.2)}


@pytest.mark.parametrize(
    "name, old, new, sentence",
    [
        ("BBox_List_2017.csv.gz", "512,512,512.5", "600,512,512.5", "line 3: the box from (600, 512) to (1112.5, 768)"),
        ("BBox_List_2017.csv.gz", "512.5", "wide", "line 3, column w: 'wide' is no number"),
        ("BBox_List_2017.csv.gz", "Infiltrate", "Dragon", "line 2, column Finding Label: 'Dragon' must be one of"),
        ("BBox_List_2017.csv.gz", "Bbox [x,y,w,h]", "Bbox [x,y,w", "line 2: has 6 cells, but the header names 5"),
        ("Data_Entry_2017.csv", "Hernia|", "Hernja|", "line 5, column Finding Labels: 'Hernja|Infiltration' must be"),
        ("Data_Entry_2017.csv", ",3,412,", ",x,412,", "line 5, column Patient ID: 'x' is no number"),
    ],
)
def test_faults_of_chestxray14_are_named_by_line(nih, name, old, new, sentence):
    edit(nih / name, old, new)
    with pytest.raises(UserError) as caught:
        read_chest(nih, "chestxray14")
    assert sentence in str(caught.value)


def test_lists_and_images_that_lack_are_said(nih):
    for path in nih.glob("images_0*/images/*.png"):
        path.unlink()
    with pytest.raises(UserError, match="holds no images: unpack them to .*images_001/images"):
        read_chest(nih, "chestxray14")
    (nih / "test_list.txt").unlink()
    with pytest.raises(UserError, match="test_list.txt does not exist: dataset_dir is the folder of ChestX-ray14"):
        read_chest(nih, "chestxray14")
    assert [len(boxes) for boxes in read_boxes(nih / "BBox_List_2017.csv.gz").values()] == [1, 1]
    assert chestxray14.SIDE == 1024


# --- VinDr-CXR -------------------------------------------------------------------------------------------------------

LABELLED = {"a" * 32: ("R9", "R10", "R11"), "b" * 32: ("R8", "R9", "R17"), "c" * 32: ("R1", "R2", "R3")}
VINDR_BOXES = [
    "image_id,rad_id,class_name,x_min,y_min,x_max,y_max",
    f"{'a' * 32},R9,Cardiomegaly,10,20,60,70",
    f"{'a' * 32},R10,Cardiomegaly,12,22,62,72",
    f"{'a' * 32},R11,Nodule/Mass,70,80,80,90",
    f"{'b' * 32},R8,No finding,,,,",
]


@pytest.fixture
def vindr_folder(tmp_path):
    notes = tmp_path / "annotations"
    write_table(notes / "annotations_train.csv", VINDR_BOXES)
    names = vindr.FINDINGS
    lines = ["image_id,rad_id," + ",".join(names)]
    for case, readers in LABELLED.items():
        for number, reader in enumerate(readers):
            seen = {"Cardiomegaly"} if number < 2 else {"Nodule/Mass"}
            seen = seen if case[0] == "a" else {"No finding"}
            lines.append(f"{case},{reader}," + ",".join(str(int(name in seen)) for name in names))
    write_table(notes / "image_labels_train.csv", lines)
    write_table(notes / "annotations_test.csv", ["image_id,class_name,x_min,y_min,x_max,y_max", "d1,ILD,1,2,30,40"])
    tested = ",".join(names).replace("Other diseases", "Other disease")
    write_table(
        notes / "image_labels_test.csv", [f"image_id,{tested}", "d1," + ",".join("01"[n == 9] for n in range(28))]
    )
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    tags = {"PatientSex": "F", "PatientAge": "045Y", "PixelSpacing": [0.2, 0.2]}
    for case in LABELLED:
        path = dicom(tmp_path / "train" / f"{case}.dicom", shown().astype(np.uint16) * 16, **tags)
        if case[0] == "b":
            path.unlink()
    picture(tmp_path / "test" / "d1.png")
    return tmp_path


def test_vindr_gives_what_its_readers_agree_on(vindr_folder, capsys):
    rows = {row["case"][0]: row for row in read_chest(vindr_folder, "vindr", validation_share=0)}
    assert set(rows) == {"a", "c", "d"}
    a = rows["a"]
    assert a["labels"]["Cardiomegaly"] == 1 and math.isnan(a["labels"]["Nodule/Mass"]) and a["labels"]["ILD"] == 0
    assert (a["sex"], a["age"], a["view"], a["spacing_mm"], a["split"]) == ("F", 45, "PA", (0.2, 0.2), "train")
    assert a["boxes"] == [Box("Cardiomegaly", 11, 21, 61, 71, "", ("R9", "R10"), 2)]
    assert rows["d"]["split"] == "test" and rows["d"]["boxes"][0][:5] == ("ILD", 1, 2, 30, 40)
    said = capsys.readouterr().err
    assert "1 without a file (the first: bbbb" in said and "1 boxes that fewer than 2 readers drew" in said
    every = read_chest(vindr_folder, "vindr", "train", merge=False, agreeing=1, validation_share=0)[0]
    assert [box.readers for box in every["boxes"]] == [("R9",), ("R10",), ("R11",)]
    assert every["labels"]["Nodule/Mass"] == 1


def test_boxes_of_smaller_copies_of_vindr_follow_the_size_of_the_original(vindr_folder):
    edit(vindr_folder / "annotations" / "annotations_test.csv", "1,2,30,40", "1000,1200,1500,1800")
    with pytest.raises(
        UserError, match="annotations_test.csv line 2: the box from .* does not lie in d1, which is 100"
    ):
        read_chest(vindr_folder, "vindr", "test")
    write_table(vindr_folder / "test_meta.csv", ["image_id,dim0,dim1", "d1,2400,2000"])
    [row] = read_chest(vindr_folder, "vindr", "test")
    assert row["boxes"][0][1:5] == (50, 60, 75, 90)


@pytest.mark.parametrize(
    "name, old, new, sentence",
    [
        ("annotations_train.csv", "10,20,60,70", "10,20,600,70", "line 2: the box from (10, 20) to (600, 70) does not"),
        ("annotations_train.csv", "12,22,62,72", "62,22,12,72", "line 3: the box from (62, 22) to (12, 72) does not"),
        ("annotations_train.csv", "70,80,80,90", "70,80,80,", "line 4: has an empty cell among class_name, x_min"),
        (
            "image_labels_train.csv",
            "R10,0",
            "R10,2",
            "line 3, column Aortic enlargement: 2 does not lie between 0 and 1",
        ),
        ("image_labels_train.csv", "R10,0", "R9,0", "line 3: reader R9 of aaaa"),
    ],
)
def test_faults_of_vindr_are_named_by_line(vindr_folder, name, old, new, sentence):
    edit(vindr_folder / "annotations" / name, old, new)
    with pytest.raises(UserError) as caught:
        read_chest(vindr_folder, "vindr")
    assert sentence in str(caught.value)


def test_readers_boxes_are_merged_once_a_reader():
    boxes = [Box("x", 0, 0, 10, 10, "", (name,), 0) for name in ("R1", "R1", "R2")] + [
        Box("y", 0, 0, 9, 9, "", ("R3",))
    ]
    assert [box.readers for box in merge_boxes(boxes, 2)] == [("R1", "R2")]
    assert agreed([{"Edema": 1.0}], 2) == {"Edema": 1.0}


# --- what a training takes -------------------------------------------------------------------------------------------


def test_a_data_set_gives_images_labels_and_masks_on_the_grid(nih):
    rows = read_chest(nih, "chestxray14", "test")
    data = ChestRadiographs(rows, size=64, findings=["Infiltration", "Mass"])
    sample = data[0]
    assert sample["image"].shape == (1, 64, 64) and 0 <= sample["image"].min() < sample["image"].max() <= 1
    assert sample["labels"].tolist() == [1, 0] and sample["report"] == ""
    x0, y0, x1, y1 = data.boxes_of(0)[0]
    assert np.allclose([x0, y0, x1, y1], np.array([225.08, 547.02, 311.86, 626.21]) / 16, atol=0.01)
    mask = sample["box_mask"][0].numpy()
    assert mask[round(y0) : round(y1), round(x0) : round(x1)].all() and mask.sum() == (19 - 14) * (39 - 34)
    with pytest.raises(UserError, match="finding 'Dragon' is none of this data set"):
        ChestRadiographs(rows, findings=["Dragon"])
    with pytest.raises(IndexError):
        data[1]


def test_training_takes_phantoms_or_a_folder_by_two_settings(nih, tmp_path):
    small = {"patients": 1, "studies": 1, "findings": "none", "cache_dir": str(tmp_path / "cache")}
    drawn = training_radiographs(size=64, phantom=small)[0]
    read = training_radiographs("chestxray14", nih, "test", size=64)[0]
    for row in (drawn, read):
        assert row["image"].shape == (1, 64, 64) and row["labels"].ndim == 1
        assert {"report", "patient", "study", "row"} <= set(row)
    with pytest.raises(UserError, match="data_format is phantom: add --data_format mimic"):
        training_radiographs("phantom", nih)
    with pytest.raises(UserError, match="the known ones are phantom, mimic"):
        training_radiographs("chexpert", nih)


def test_a_packed_table_is_bounded(mimic_folder, monkeypatch):
    monkeypatch.setattr(tables, "LARGEST", 1000)
    write_table(mimic_folder / "mimic-cxr-2.0.0-split.csv.gz", ["dicom_id,study_id,subject_id,split", "x" * 100_000])
    with pytest.raises(UserError, match="split.csv.gz holds more than"):
        read_chest(mimic_folder, "mimic")


def test_tables_are_those_that_are_published():
    header = next(csv.reader([META]))
    assert {"dicom_id", "subject_id", "study_id", "ViewPosition", "Rows", "Columns", "StudyDate"} <= set(header)
    assert len(mimic.FINDINGS) == len(chestxray14.FINDINGS) == 14 and len(vindr.FINDINGS) == 28
