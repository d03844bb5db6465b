"""The five tasks, their labels and regions, against small independent calculations."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from scipy import ndimage as ndi
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve

from synthzoo.systems.many_tasks.blending import source_patch
from synthzoo.systems.many_tasks.deformation import deform, push_exponent
from synthzoo.systems.many_tasks.soft_labels import soft_label
from synthzoo.systems.many_tasks.tasks import INTENSITY, INTER, INTRA, RandAnomalyTaskd
from synthzoo.transforms.intensity_changes import smooth_change
from synthzoo.transforms.poisson import poisson_blend
from synthzoo.transforms.random_shapes import Region, draw_region, inner_distance, place_region, roughen


def solve_blend(target, source, mask):
    """The same equation by a sparse direct solver, voxel by voxel."""
    shape, inside = target.shape, np.zeros(mask.shape, bool)
    inner = (slice(1, -1),) * target.ndim
    inside[inner] = mask[inner]
    index = {p: i for i, p in enumerate(product(*[range(1, n - 1) for n in shape]))}
    matrix, right = lil_matrix((len(index), len(index))), np.zeros(len(index))

    def guide(p, axis):  # the stronger of the two forward differences at p
        q = tuple(c + (a == axis) for a, c in enumerate(p))
        t, s = target[q] - target[p], source[q] - source[p]
        return s if inside[p] and abs(s) > abs(t) else t

    for p, i in index.items():
        matrix[i, i] = -2 * len(shape)
        for axis in range(len(shape)):
            before = tuple(c - (a == axis) for a, c in enumerate(p))
            after = tuple(c + (a == axis) for a, c in enumerate(p))
            right[i] += guide(p, axis) - guide(before, axis)
            for q in (before, after):
                if q in index:
                    matrix[i, index[q]] = 1
                else:
                    right[i] -= target[q]
    out = target.copy()
    out[inner] = spsolve(matrix.tocsr(), right).reshape([n - 2 for n in shape])
    return out


@pytest.mark.parametrize("shape", [(9, 7), (6, 5, 7)])
def test_poisson_blending_solves_its_equation_in_two_and_three_dimensions(shape):
    rng = np.random.RandomState(0)
    target, source = rng.randn(*shape), 3 * rng.randn(*shape)
    mask = rng.rand(*shape) < 0.7
    kept = mask.copy()
    np.testing.assert_allclose(poisson_blend(target, source, mask), solve_blend(target, source, mask), atol=1e-9)
    assert (mask == kept).all()  # not changed in place
    np.testing.assert_allclose(poisson_blend(target, source, np.zeros(shape, bool)), target, atol=1e-9)


def test_a_source_patch_has_the_requested_box_and_stays_within_the_range_of_its_source():
    source = np.random.RandomState(1).rand(2, 40, 50).astype(np.float32)
    patch = source_patch(source, (12, 17), np.random.RandomState(2))
    assert patch.shape == (2, 12, 17)
    assert patch.min() >= source.min() and patch.max() <= source.max()


@pytest.mark.parametrize("kind", ["box", "ellipsoid"])
@pytest.mark.parametrize("dims", [2, 3])
def test_the_distance_to_a_regions_edge_agrees_with_walking_there(kind, dims):
    rng = np.random.RandomState(3)
    drawn = draw_region((60,) * dims, rng)
    region = Region(drawn.matrix, drawn.size, kind)
    start = region.centre + 0.1
    directions = rng.randn(dims, 20)
    directions /= np.linalg.norm(directions, axis=0)
    inverse, half = np.linalg.inv(region.matrix), region.size / 2
    for direction, distance in zip(directions.T, region.edge_distance(start, directions)):
        steps = np.arange(0, 80, 0.005)
        q = (inverse @ (start[:, None] + steps * direction[:, None] - region.centre[:, None])) / half[:, None]
        inside = (np.abs(q) <= 1).all(0) if kind == "box" else (q**2).sum(0) <= 1
        assert distance == pytest.approx(steps[np.argmin(inside)], abs=0.02)


def test_regions_keep_to_their_size_and_lie_half_in_the_brain():
    rng, shape = np.random.RandomState(4), (48, 64)
    brain = np.zeros(shape, bool)
    brain[8:40, 8:56] = True
    for _ in range(50):
        region = draw_region(shape, rng)
        assert all(b <= 0.8 * n + 1 for b, n in zip(region.box, shape))
        where = place_region(region, brain, shape, rng)
        if where is not None:
            assert brain[where][region.mask()].mean() >= 0.5
    assert place_region(draw_region(shape, rng), np.zeros(shape, bool), shape, rng) is None


@pytest.mark.parametrize("kind", ["sink", "source"])
def test_a_deformation_moves_tissue_the_named_way_and_leaves_the_border(kind):
    region = Region(np.eye(2), np.array([41.0, 41.0]), "ellipsoid")
    n = region.box[0]
    axes = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    image = np.stack(axes).astype(np.float64)  # each voxel knows where it came from
    rng = np.random.RandomState(5)
    out = deform(image, region, kind, rng, push=(3.0, 5.0))
    border = np.ones((n, n), bool)
    border[1:-1, 1:-1] = False
    assert (out[:, border] == image[:, border]).all()
    centre = np.argwhere(region.mask())[np.random.RandomState(5).randint(int(region.mask().sum()))]
    before = np.hypot(*(image - centre[:, None, None]))
    after = np.hypot(*(out - centre[:, None, None]))
    moved = np.abs(after - before) > 0.3
    assert moved.sum() > 100
    # A source reads nearer the centre, so that tissue there seems pushed outwards; a sink reads farther out.
    assert ((after < before) if kind == "source" else (after > before))[moved].all()


def test_the_push_exponent_is_at_least_one_and_grows_with_the_push():
    mask = Region(np.eye(2), np.array([31.0, 31.0]), "ellipsoid").mask()
    centre = np.argwhere(mask).mean(0)
    small, large = (push_exponent(mask, centre, np.random.RandomState(0), (p, p)) for p in (1.0, 4.0))
    assert 1 < small < large


def test_inner_distance_counts_the_border_of_its_box_as_an_edge():
    mask = np.ones((5, 5), bool)
    assert inner_distance(mask)[2, 2] == 3 and inner_distance(mask)[0].max() == 1
    image = np.zeros((1, 21, 21))
    changed = smooth_change(image, np.ones((21, 21), bool), 100, np.random.RandomState(0))
    assert abs(changed[0, 10, 10]) >= 0.1 and abs(changed[0, 0, 0]) < abs(changed[0, 10, 10])


def test_a_soft_label_follows_its_formula_and_fills_holes():
    original = np.zeros((1, 15, 15), np.float32)
    changed, region = original.copy(), np.zeros((15, 15), bool)
    region[3:12, 3:12] = True
    changed[0, 3:12, 3:12] = 0.2
    label = soft_label(original, changed, region, sigma=0.2)
    np.testing.assert_allclose(label[0][region], 1 - np.exp(-0.5), rtol=1e-5)
    assert (label[0][~region] == 0).all()
    changed[0, 6:9, 6:9] = 0  # tissue that kept its value by coincidence
    np.testing.assert_allclose(soft_label(original, changed, region, 0.2)[0][7, 7], 1 - np.exp(-0.5), rtol=1e-5)


@pytest.mark.parametrize("task", range(5))
def test_every_task_changes_the_brain_alone_and_says_where(task):
    rng = np.random.RandomState(6)
    brain = np.hypot(*(np.indices((64, 64)) - 32)) < 26
    image = (ndi.gaussian_filter(rng.randn(64, 64), 2) * 4 * brain)[None].astype(np.float32)
    other = (ndi.gaussian_filter(rng.randn(64, 64), 2) * 4 * brain)[None].astype(np.float32)
    row = {"image": image, "brain": brain[None], "source": lambda: other, "foreign": lambda: rng.randn(1, 64, 64)}
    plant = RandAnomalyTaskd(tasks=[task], ring=0.5, replace=0.5, sigma=0.2)
    plant.set_random_state(7)
    changed = 0
    for _ in range(6):
        out = plant(dict(row))
        assert out["task"] == task and "foreign" not in out
        new, label = out["image"].numpy(), out["label"].numpy()
        assert (new[0][~brain] == 0).all() and (label[0][~brain] == 0).all()
        assert label.min() >= 0 and label.max() < 1
        differs = np.abs(new - image) > 0.3
        assert (label[differs] > 0.05).mean() > 0.99 if differs.any() else True
        changed += int(differs.sum())
    assert changed > 50


def test_the_same_state_plants_the_same_anomaly_and_healthy_rows_stay_healthy():
    image = np.random.RandomState(0).randn(1, 40, 40).astype(np.float32)
    row = {"image": image, "brain": np.ones((1, 40, 40), bool), "source": image[:, ::-1], "foreign": image}
    first, second = (RandAnomalyTaskd(tasks=[INTRA, INTENSITY]).set_random_state(3)(dict(row)) for _ in range(2))
    assert torch.equal(first["image"], second["image"]) and first["task"] == second["task"]
    healthy = RandAnomalyTaskd(healthy=1.0).set_random_state(3)(dict(row))
    assert torch.equal(healthy["image"], torch.from_numpy(image)) and float(healthy["label"].max()) == 0


def test_a_rough_region_lies_within_its_convex_one_and_has_a_longer_edge():
    rng, edge = np.random.RandomState(2), lambda mask: (mask & ~ndi.binary_erosion(mask)).sum()
    convex = np.hypot(*(np.indices((41, 41)) - 20)) <= 18
    rough = [roughen(convex, rng) for _ in range(20)]
    assert all(mask.any() and not (mask & ~convex).any() for mask in rough)
    # For its area a disc has the shortest edge there is: edge^2 / area tells how far a shape is from one.
    assert np.median([edge(m) ** 2 / m.sum() for m in rough]) > 1.3 * edge(convex) ** 2 / convex.sum()
    speck = np.zeros((3, 3), bool)
    speck[1, 1] = True
    assert all(roughen(speck, rng).any() for _ in range(20))


def test_pasted_patches_reach_every_grey_of_the_image_and_may_have_a_rim():
    image = np.full((1, 128, 128), 1.0, np.float32)
    image[0, :8], image[0, -8:] = -4.0, 6.0  # the darkest and the brightest tissue, far from most patches
    noise = np.random.RandomState(0).randn(1, 128, 128)
    row = {"image": image, "brain": np.ones((1, 128, 128), bool), "foreign": noise}
    rims = {}
    for ring in (0.0, 1.0):
        plant = RandAnomalyTaskd(tasks=[INTER], replace=1.0, ring=ring).set_random_state(5)
        middles, steps = [], []
        for _ in range(40):
            out = plant(dict(row))
            new, label = out["image"].numpy()[0], out["label"].numpy()[0] > 0.9
            label[:9] = label[-9:] = False
            inner = ndi.distance_transform_edt(label)
            if inner.max() > 7:
                middles.append(float(np.median(new[inner > 6])))
                steps.append(abs(middles[-1] - float(np.median(new[(inner > 0) & (inner < 2)]))))
        assert min(middles) < -2 and max(middles) > 4
        rims[ring] = np.median(steps)
    assert rims[1.0] > 2 * rims[0.0], "without a rim the edge differs by the texture and the soft edge alone"
