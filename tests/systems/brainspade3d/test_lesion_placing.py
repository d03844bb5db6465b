"""A lesion placed into a scan: exact mask, the scan's own contrast and grid, the outside untouched to the bit."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy import ndimage as ndi

from synthzoo.errors import UserError
from synthzoo.phantoms.brain.contrast import render
from synthzoo.phantoms.brain.pathology.lesion import PARTS, Growth, Lesion
from synthzoo.phantoms.brain.pathology.scans import LABELS
from synthzoo.phantoms.brain.phantom import draw_params, make_anatomy
from synthzoo.systems.brainspade3d.lesion_placing import PlaceLesiond, lesion_of, place_lesion

TUMOUR = Lesion("tumour", {"oedema": 25, "enhancing": 8, "core": 5}, Growth(push_mm=8))


@pytest.fixture(scope="module")
def anatomy():
    return make_anatomy(draw_params(3), 4.0)


def scan(anatomy, contrast="T1w"):
    labels = np.zeros(anatomy.labels.shape, np.uint8)
    for number, name in enumerate(("cortex", "white", "csf", "ventricle"), 1):
        labels[anatomy.labels == number] = LABELS[name]
    return 300 * render(anatomy, contrast, seed=1), labels


@pytest.mark.parametrize("contrast", ["T1w", "FLAIR", "T2w"])
def test_mask_and_contrast_are_as_requested_and_the_outside_is_untouched(anatomy, contrast):
    image, tissue = scan(anatomy, contrast)
    placed = place_lesion(image, tissue, anatomy.affine, TUMOUR, seed=2)
    for part, ml in TUMOUR.ml.items():
        assert placed.ml[part] == pytest.approx(ml, abs=0.501 * 0.064)
        assert (placed.labels == 1 + PARTS.index(part)).sum() * 0.064 == pytest.approx(placed.ml[part])
    assert (placed.image[placed.labels == 0] == image[placed.labels == 0]).all()
    assert placed.contrast == {"T1w": "T1Gd"}.get(contrast, contrast)
    oedema = placed.image[placed.labels == 1 + PARTS.index("oedema")].mean()
    white = np.median(image[tissue == LABELS["white"]])
    assert (oedema > white) == (contrast != "T1w")
    assert not (placed.labels > 0)[tissue == 0].any()


def test_it_lies_where_it_was_requested_on_any_grid(anatomy):
    image, tissue = scan(anatomy)
    centre = (30.0, -20.0, 20.0)
    turned = np.ascontiguousarray(image.transpose(2, 0, 1)[::-1])
    labels = np.ascontiguousarray(tissue.transpose(2, 0, 1)[::-1])
    affine = anatomy.affine @ np.array(
        [[0, 1, 0, 0], [0, 0, 1, 0], [-1, 0, 0, image.shape[2] - 1], [0, 0, 0, 1]], float
    )
    found = []
    for array, of, matrix in ((image, tissue, anatomy.affine), (turned, labels, affine)):
        placed = place_lesion(array, of, matrix, TUMOUR, centre, seed=2)
        middle = matrix[:3, :3] @ ndi.center_of_mass(placed.labels > 0) + matrix[:3, 3]
        assert np.linalg.norm(middle - centre) < 12
        found.append(placed)
    assert sum(found[1].ml.values()) == pytest.approx(sum(found[0].ml.values()), abs=0.2)


def test_the_same_seed_gives_the_same_lesion(anatomy):
    image, tissue = scan(anatomy)
    first, again, other = (place_lesion(image, tissue, anatomy.affine, TUMOUR, seed=s).image for s in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_wrong_requests_are_named(anatomy):
    image, tissue = scan(anatomy)
    with pytest.raises(UserError, match=r"centre_mm = \[400.*outside the brain, which spans"):
        place_lesion(image, tissue, anatomy.affine, TUMOUR, (400, 0, 0))
    with pytest.raises(UserError, match="tissue: has shape"):
        place_lesion(image, tissue[1:], anatomy.affine, TUMOUR)
    with pytest.raises(UserError, match="no white matter"):
        place_lesion(image, 0 * tissue, anatomy.affine, TUMOUR)
    with pytest.raises(UserError, match="contrast = 'CT'"):
        place_lesion(image, tissue, anatomy.affine, TUMOUR, contrast="CT")


def test_a_request_is_one_number_or_one_for_each_part(anatomy):
    assert lesion_of({"kind": "tumour", "ml": 40}).total_ml == pytest.approx(40)
    assert lesion_of({"kind": "stroke", "ml": {"stroke": 25}, "growth": {"place": "cortex"}}).growth.place == "cortex"
    with pytest.raises(UserError, match="lesion has the key 'size': the known ones are kind, ml"):
        lesion_of({"kind": "tumour", "size": 40})
    with pytest.raises(UserError, match="growth has the key 'speed'"):
        lesion_of({"kind": "tumour", "ml": 40, "growth": {"speed": 1}})
    with pytest.raises(UserError, match="kind = None; it is one of tumour"):
        lesion_of({"ml": 40})
    with pytest.raises(UserError, match="ml = 'much'; give mL as a number"):
        lesion_of({"kind": "tumour", "ml": "much"})
    with pytest.raises(UserError, match="lesion = 'tumour': give a mapping"):
        lesion_of("tumour")


def test_the_sample_says_what_was_placed(anatomy):
    image, tissue = scan(anatomy, "FLAIR")
    affine = torch.from_numpy(anatomy.affine)
    sample = {"scan": MetaTensor(torch.from_numpy(image)[None], affine=affine), "dseg": torch.from_numpy(tissue)[None]}
    out = PlaceLesiond({"kind": "stroke", "ml": 20}, seed=3)(sample)
    assert out["lesion"]["requested"] == {"kind": "stroke", "ml": {"stroke": 20.0}}
    assert out["lesion"]["ml"]["stroke"] == pytest.approx(20, abs=0.04)
    assert out["lesion"]["contrast"] == "FLAIR"
    assert (out["mask"] > 0).sum() * 0.064 == pytest.approx(20, abs=0.04)
    assert out["labels"]["8"] == "lesion_stroke"
    assert torch.equal(torch.as_tensor(out["pred"])[out["mask"] == 0], torch.from_numpy(image)[None][out["mask"] == 0])
