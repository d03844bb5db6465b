"""The instrument that tells brains apart knows a subject by the anatomy, and says how well."""

import numpy as np
import pytest
import torch
from scipy import ndimage as ndi

from synthzoo.datasets.brain.phantoms import SPLITS
from synthzoo.errors import UserError
from synthzoo.instruments.brain.identity import BOX, IdentityNet, brain_features, identity_report, to_box
from synthzoo.instruments.brain.identity_training import SUBJECTS, SubjectPairs, identity_loss, make_report, move
from synthzoo.metrics.reidentification import auc
from synthzoo.phantoms.brain.phantom import draw_params, make_brain

SEED = SUBJECTS["test"][0] + SUBJECTS["test"][1]  # in no stated figure
COUNT = 8


@pytest.fixture(scope="module")
def scans():
    """A T1w and a T2w image at 4 mm of each of 8 subjects, from different seeds of noise and bias."""
    subjects = [draw_params(SEED + n) for n in range(COUNT)]
    return [[make_brain(one, 4.0, kind, seed=n).image for one in subjects] for n, kind in enumerate(("T1w", "T2w"))]


def test_two_contrasts_of_a_subject_are_nearer_than_two_subjects(scans):
    features = [brain_features(images) for images in scans]
    scores, own = features[0] @ features[1].T, np.eye(COUNT, dtype=bool)
    assert auc(scores[own], scores[~own]) > 0.9
    assert np.allclose(np.linalg.norm(features[0], axis=1), 1)


def test_voxel_size_place_and_brightness_change_little(scans):
    image = scans[0][0]
    fine = ndi.zoom(image, 2, order=1, grid_mode=True, mode="nearest")
    moved = np.roll(np.pad(image, 6), 4, axis=0)
    plain, *others = brain_features([image, fine, moved, 900 * image + 40])
    assert all(plain @ one > 0.95 for one in others)


def test_the_box_holds_the_head_whatever_surrounds_it(scans):
    image = scans[0][0]
    assert to_box(image).shape == BOX
    padded = np.pad(image, ((9, 2), (0, 5), (3, 0)))
    assert np.allclose(to_box(padded), to_box(image), atol=1e-5)


def test_what_is_stated_is_more_than_its_controls():
    stated = identity_report()
    for name in ("any contrasts", "T1w"):
        network, pixels = stated[name]["network"], stated[name]["raw_pixels"]
        assert network["auroc"] > 0.95 and network["auroc"] > pixels["auroc"], name
        assert network["first_place"] > pixels["first_place"], name
        assert 0.3 < stated[name]["shuffled"]["auroc"] < 0.7, name


def test_no_other_network_sees_its_subjects():
    for split, (first, count) in SUBJECTS.items():
        low, high = SPLITS[split]
        assert low < first and first + count <= high


def test_pairs_are_drawn_from_seeds_and_moved_together():
    rows = SubjectPairs("validation", 2)
    again = SubjectPairs("validation", 2).pairs()
    assert np.array_equal(rows.pairs(), again) and again.shape == (2, 2, *BOX)
    torch.manual_seed(0)
    heads = torch.from_numpy(again.reshape(-1, 1, *BOX))
    shift = (move(heads) - heads).abs().mean()
    assert 0 < shift < 0.2


def test_the_loss_falls_on_one_batch():
    torch.manual_seed(0)
    batch, network, loss = {"image": torch.rand(4, 1, *BOX).expand(-1, 2, -1, -1, -1)}, IdentityNet(), identity_loss()
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for _ in range(8):
        optimiser.zero_grad()
        value = loss(network, batch)["loss"]
        value.backward()
        optimiser.step()
        losses.append(float(value.detach()))
    assert np.mean(losses[-2:]) < np.mean(losses[:2])


def test_a_report_is_the_same_when_it_is_made_again(tmp_path):
    one, two = (make_report(tmp_path, 6) for _ in range(2))
    assert one == two and (tmp_path / "brain_identity.json").is_file()


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (np.zeros((40, 48)), "has shape .40, 48.; the identity instrument takes one 3D volume"),
        (np.zeros((40, 48, 4)), "has shape .40, 48, 4."),
        (np.full((40, 48, 40), np.nan), "numbers only"),
        (np.ones((40, 48, 40)), "is the same everywhere"),
    ],
)
def test_bad_images_are_refused(image, sentence):
    with pytest.raises(UserError, match=sentence):
        to_box(image)
