"""The segmenter: slices in, labels on the scan's own grid out, whatever its contrast's scale."""

import numpy as np
import pytest
import torch
from scipy import ndimage as ndi

from synthzoo.errors import UserError
from synthzoo.instruments.brain.extraction import expect_brain
from synthzoo.instruments.brain.template_fit import tissue_agreement
from synthzoo.networks.saving import save_weights
from synthzoo.phantoms.brain.contrast import render
from synthzoo.phantoms.brain.pathology.scans import LABELS, TISSUES
from synthzoo.phantoms.brain.phantom import draw_params, make_anatomy
from synthzoo.systems.brainspade3d.segmenter import CLASSES, BrainSegmenter, scan_channels, start_segmenter
from synthzoo.systems.brainspade3d.segmenter_calibration import dice
from synthzoo.systems.brainspade3d.segmenter_inferer import NAMES, labels_on_grid, windows, without_specks
from synthzoo.systems.brainspade3d.segmenter_objective import SegmenterLoss

GRID = (32, 48, 32)
OEDEMA, CORE = LABELS["oedema"], LABELS["core"]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return BrainSegmenter((8, 8, 8, 8, 8, 8), grid=GRID, extractor_channels=(8, 8))


def ball(shape, centre, radius):
    axes = np.meshgrid(*[np.arange(n) - c for n, c in zip(shape, centre)], indexing="ij")
    return np.sqrt(sum(a**2 for a in axes)) < radius


def test_probabilities_add_up_and_the_outside_is_background(network):
    mask = ball(GRID, (16, 24, 16), 10)
    volume = torch.from_numpy(scan_channels(np.random.RandomState(0).rand(*GRID), mask))
    with torch.no_grad():
        found = network.eval()(volume[None])[0]
    assert found.shape == (len(CLASSES), *GRID)
    assert torch.allclose(found.sum(0), torch.ones(GRID), atol=1e-5)
    assert (found[0][torch.from_numpy(~mask)] == 1).all()


def test_a_mirrored_head_gives_the_mirrored_answer(network):
    mask = ball(GRID, (15.5, 24, 16), 10)
    volume = torch.from_numpy(scan_channels(np.random.RandomState(0).rand(*GRID), mask))
    with torch.no_grad():
        found = network.eval().read(volume, axes=(1, 2))
        turned = network.read(volume.flip(1), axes=(1, 2)).flip(1)
    assert torch.allclose(found, turned, atol=1e-4)


def test_what_the_network_sees_does_not_depend_on_the_unit():
    image, mask = np.random.RandomState(0).gamma(2, size=GRID), ball(GRID, (16, 24, 16), 10)
    first, scaled, bent = (scan_channels(x, mask) for x in (image, 900 * image + 3, image**1.7))
    np.testing.assert_allclose(first, scaled, atol=1e-4)
    np.testing.assert_allclose(first[1], bent[1], atol=0.02)  # the rank sees no monotone change
    assert not first[:, ~mask].any()
    assert first[1, mask].min() >= 0.5


def test_the_decision_is_on_all_parts_together(network):
    found = torch.zeros(len(CLASSES), 1, 1, 2)
    found[LABELS["white"]] = torch.tensor([0.4, 0.75])
    found[OEDEMA], found[CORE] = torch.tensor([0.25, 0.1]), torch.tensor([0.35, 0.15])
    assert network.decide(found, 0.5).ravel().tolist() == [CORE, LABELS["white"]]
    assert network.decide(found, 0.2).ravel().tolist() == [CORE, CORE]
    network.threshold.fill_(0.2)
    assert network.decide(found).ravel().tolist() == [CORE, CORE]


@pytest.mark.parametrize("step", [1.0, 0.5])
def test_labels_lie_on_the_scans_own_grid(step):
    shape = tuple(int(n / step) for n in GRID)
    brain, lesion = ball(GRID, (16, 24, 16), 11), ball(GRID, (18, 24, 16), 4)
    found = np.zeros((len(CLASSES), *GRID), np.float32)
    found[0], found[LABELS["white"]], found[OEDEMA] = ~brain, brain & ~lesion, lesion
    grid_affine, affine = np.diag([2.0, 2.0, 2.0, 1.0]), np.diag([-2 * step, 2 * step, 2 * step, 1.0])
    affine[0, 3] = 2 * step * (shape[0] - 1)
    labels = labels_on_grid(found, grid_affine, shape, affine, 0.5)[::-1]
    truth = ball(shape, tuple((c / step) for c in (18, 24, 16)), 4 / step)
    assert dice(labels == OEDEMA, truth) > 0.9
    assert set(np.unique(labels)) == {0, LABELS["white"], OEDEMA}
    assert NAMES[OEDEMA - 1] == "lesion_oedema"
    assert all(name.startswith("lesion") == (number >= len(TISSUES)) for number, name in enumerate(NAMES, 1))


def test_specks_are_left_out():
    labels = np.full(GRID, LABELS["white"], np.uint8)
    labels[ball(GRID, (8, 8, 8), 4)], labels[20, 20, 20] = OEDEMA, CORE
    labels[8, 8, 12] = CORE  # a part of a large lesion may be small
    kept = without_specks(labels, 0.008, 0.3)
    assert kept[20, 20, 20] == LABELS["white"]
    assert kept[8, 8, 12] == CORE
    assert (kept == OEDEMA).sum() == (labels == OEDEMA).sum()


def test_the_middle_plane_of_a_head_is_that_of_the_grid():
    mask = np.zeros((112, 128, 112), bool)
    mask[30:90, 20:100, 50:110] = True  # more on one side: the other was cut off
    source, target = windows(mask, (80, 96, 80))
    assert (source[0].start + source[0].stop) / 2 == 56
    assert (target[0].start, target[0].stop) == (0, 80)
    assert target[2].stop - target[2].start == source[2].stop - source[2].start


@pytest.mark.parametrize("axis", [0, 2])
def test_the_loss_falls_and_ignores_what_is_not_seen(network, axis):
    rng = np.random.RandomState(0)
    label = np.zeros((4, 1, *GRID[:2]), np.uint8)
    label[:, :, 4:28, 8:40], label[:2, :, 10:18, 16:24], label[2:, :, 10:18, 16:24] = LABELS["white"], OEDEMA, CORE
    image = np.stack([label[:, 0] + 0.1 * rng.randn(4, *GRID[:2]), 0.5 + label[:, 0] / 20], 1) * (label > 0)
    batch = {
        "image": torch.from_numpy(image.astype(np.float32)),
        "label": torch.from_numpy(label),
        "axis": torch.full((4,), axis),
    }
    objective, optimiser = SegmenterLoss(), torch.optim.Adam(network.planes.parameters(), 1e-2)
    losses = []
    for _ in range(12):
        values = objective(network, batch)
        optimiser.zero_grad()
        values["loss"].backward()
        optimiser.step()
        losses.append(float(values["loss"]))
    assert losses[-1] < 0.8 * losses[0]
    assert {"classes", "lesion", "dice", "part_dice"} <= set(values)


def test_training_begins_with_a_trained_extractor(network, tmp_path):
    other = BrainSegmenter((8, 8, 8, 8, 8, 8), grid=GRID, extractor_channels=(8, 8))
    save_weights(other, tmp_path / "other.pt")
    before = network.planes.state_dict()
    before = {name: value.clone() for name, value in before.items()}
    start_segmenter(network, tmp_path / "other.pt")
    for name, value in network.extractor.state_dict().items():
        assert torch.equal(value, other.extractor.state_dict()[name])
    assert all(torch.equal(value, before[name]) for name, value in network.planes.state_dict().items())
    assert start_segmenter(network, tmp_path / "absent.pt") is network


def test_a_brain_half_full_of_tumour_is_one_and_noise_is_none():
    anatomy = make_anatomy(draw_params(3), 2.0)
    head = np.pad(render(anatomy, "T1w"), 8)
    mask = head > 0
    x, y, z = (float(n) for n in np.argwhere(mask).mean(0))
    tumour = ball(head.shape, (x - 18, y, z), 19) & mask
    sick = np.where(tumour, 3 * head.max() * (1 + 0.2 * np.random.RandomState(0).rand(*head.shape)), head)
    assert tumour.sum() * 0.008 > 150
    expect_brain(sick, mask, sides=True)
    assert 2 * tissue_agreement(sick, mask) < tissue_agreement(sick, mask, sides=True) > 0.2
    for size in (0, 6):
        noise = ndi.gaussian_filter(np.random.RandomState(1).rand(*head.shape), size)
        with pytest.raises(UserError, match="no MR scan of a brain"):
            expect_brain(np.where(mask, noise, 0), mask, sides=True)
