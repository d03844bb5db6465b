"""Pseudo mixup, the averaged teacher and its loss by the formulas of Semi-ViT (Cai et al., NeurIPS 2022)."""

from __future__ import annotations

import pytest
import torch

from synthzoo.errors import UserError
from synthzoo.systems.semi_vit.augmentation import View, box_mask, strong_view, weak_view
from synthzoo.systems.semi_vit.mixing import mix, pseudo_mixup, smoothed
from synthzoo.systems.semi_vit.network import ImageClassifier, MonaiViT, patches_of
from synthzoo.systems.semi_vit.objective import (
    MaskedAutoencoderLoss,
    SemiSupervisedLoss,
    SupervisedLoss,
    layer_groups,
    take,
)
from synthzoo.training import stage

TINY = {"image_size": 16, "patch": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "class_token": False}
SOLID = {"channels": 1, "image_size": (16, 8, 8), "patch": 8, "dims": 3, "width": 24, "depth": 1, "heads": 2}


class Same(View):
    """Shows images as they are."""

    def __call__(self, images):
        return images


def tiny(classes=4, body="timm", **settings):
    torch.manual_seed(0)
    return ImageClassifier(classes, body, settings={**TINY, "positions": "sincos", **settings})


def batch(size=4, others=3, classes=4, seed=0):
    chance = torch.Generator().manual_seed(seed)
    return {
        "image": torch.rand(size, 3, 16, 16, generator=chance),
        "label": torch.randint(0, classes, (size,), generator=chance),
        "others": torch.rand(size, others, 3, 16, 16, generator=chance),
        "others_truth": torch.randint(0, classes, (size, others), generator=chance),
    }


def test_equally_sure_images_are_mixed_in_halves_and_a_surer_one_dominates():
    images, targets = torch.rand(2, 3, 8, 8), smoothed(torch.tensor([0, 1]), 3)
    order = torch.tensor([1, 0])
    same = pseudo_mixup(images, targets, torch.tensor([0.6, 0.6]), cut=0.0, order=order)
    assert torch.allclose(same.kept, torch.tensor([0.5, 0.5]))
    assert torch.allclose(same.images[0], (images[0] + images[1]) / 2)
    mixed = pseudo_mixup(images, targets, torch.tensor([0.9, 0.3]), cut=0.0, order=order)
    assert torch.allclose(mixed.kept, torch.tensor([0.75, 0.25]))
    assert torch.allclose(mixed.targets[0], 0.75 * targets[0] + 0.25 * targets[1])
    assert torch.allclose(mixed.targets.sum(1), torch.ones(2))


def test_an_unsure_image_counts_beside_a_sure_partner():
    sure = torch.tensor([0.2, 0.95, 0.3])
    mixed = pseudo_mixup(torch.rand(3, 1, 8, 8), torch.eye(3), sure, order=torch.tensor([1, 0, 2]))
    assert mixed.confidence.tolist() == pytest.approx([0.95, 0.95, 0.3])


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 12, 12, 12)])
def test_a_box_leaves_the_share_that_its_target_says(shape):
    torch.manual_seed(1)
    images = torch.stack([torch.zeros(shape), torch.ones(shape)])
    targets, share = torch.eye(2), torch.tensor([0.7, 0.4])
    mixed = mix(images, targets, share, cut=1.0, order=torch.tensor([1, 0]))
    own = torch.stack([1 - mixed.images[0].mean(), mixed.images[1].mean()])
    assert torch.allclose(own, mixed.kept, atol=1e-6), "the share is that of the clipped box"
    assert torch.allclose(mixed.targets.diagonal(), mixed.kept)
    whole = box_mask(torch.tensor([[0.5] * (len(shape) - 1)]), torch.tensor([1.0]), shape[1:])
    assert whole.all()


def test_the_teacher_is_the_closed_form_of_its_average_and_learns_nothing_itself():
    network = tiny()
    objective = SemiSupervisedLoss(network, decay=0.9, threshold=0.0, weak=Same(), strong=Same())
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    seen = []
    for number in range(4):
        seen.append(network.head.weight.detach().clone())
        objective.train()
        optimizer.zero_grad()
        objective(network.train(), batch(seed=number))["loss"].backward()
        optimizer.step()
    expected = seen[0]
    for weight in seen[1:]:
        expected = 0.9 * expected + 0.1 * weight
    assert torch.allclose(objective.teacher.head.weight, expected, atol=1e-7) and not torch.equal(seen[0], expected)
    assert not objective.teacher.training and all(one.grad is None for one in objective.teacher.parameters())
    assert not any(one.requires_grad for one in objective.teacher.parameters())


def test_the_teacher_begins_as_the_network_that_training_begins_with(tmp_path):
    network = tiny()
    objective = SemiSupervisedLoss(network)
    with torch.no_grad():
        network.head.weight.add_(1.0)  # as weights of the stage before, loaded later
    objective(network, batch())
    assert torch.equal(objective.teacher.head.weight, network.head.weight)
    path = tmp_path / "teacher.pt"
    objective.save_teacher(path, half=False)
    again = tiny()
    again.load_state_dict(torch.load(path, weights_only=True))
    assert torch.equal(again.head.weight, objective.teacher.head.weight)


def test_the_unlabelled_loss_is_the_mean_over_all_images_not_over_those_that_count():
    network, given = tiny().eval(), batch()
    with torch.no_grad():
        network.head.weight.normal_(0, 1.0, generator=torch.Generator().manual_seed(3))
    others = given["others"].flatten(0, 1)
    with torch.no_grad():
        scores = network(others).softmax(1)
    sure, label = scores.max(1)
    threshold = float(sure.sort().values[7])
    objective = SemiSupervisedLoss(
        network, SupervisedLoss(Same()), Same(), Same(), threshold=threshold, weight=2.0, mixing=False
    )
    found = objective(network, given)
    soft = smoothed(label, 4)
    each = -(soft * network(others).log_softmax(1)).sum(1)
    expected = (each * (sure >= threshold)).sum() / len(others)
    assert torch.allclose(found["unsupervised"], expected, atol=1e-6)
    assert float(found["kept"]) == pytest.approx(5 / 12)
    assert torch.allclose(found["loss"], found["supervised"] + 2 * found["unsupervised"])
    right = (label == given["others_truth"].flatten())[sure >= threshold].float().mean()
    assert float(found["pseudo_accuracy"]) == pytest.approx(float(right))


def test_labels_are_smoothed_as_published():
    row = smoothed(torch.tensor([2]), 5, 0.1)[0]
    assert row.tolist() == pytest.approx([0.02, 0.02, 0.92, 0.02, 0.02])


def test_settings_out_of_range_are_one_sentence():
    with pytest.raises(UserError, match="threshold = 1.5: must lie between 0 and 1"):
        SemiSupervisedLoss(tiny(), threshold=1.5)


@pytest.mark.parametrize("shape", [(3, 24, 24), (1, 12, 16, 8)])
def test_views_keep_shape_and_range_and_differ_from_image_to_image(shape):
    torch.manual_seed(0)
    images = torch.rand(6, *shape)
    for view in (weak_view(), strong_view()):
        seen = view(images)
        assert seen.shape == images.shape and seen.min() >= 0 and seen.max() <= 1
        assert all(not torch.equal(one, other) for one, other in zip(seen, images))
    still = View(flips=(), zoom=(1.0, 1.0), turn=0.0, jitter=0.0)
    assert torch.allclose(still(images), images, atol=1e-5), "a view that changes nothing"


@pytest.mark.parametrize("axis", [-1, -2])
def test_mirroring_is_along_the_axis_that_was_named(axis):
    torch.manual_seed(0)
    images = torch.rand(1, 1, 6, 10).expand(16, 1, 6, 10)
    seen = View(flips=(axis,), zoom=(1.0, 1.0), turn=0.0, jitter=0.0)(images)
    same = [torch.allclose(one, images[0], atol=1e-4) for one in seen]
    turned = [torch.allclose(one, images[0].flip(axis), atol=1e-4) for one in seen]
    assert any(same) and any(turned) and all(a != b for a, b in zip(same, turned))


@pytest.mark.parametrize("shape", [(2, 16, 8), (1, 8, 16, 8)])
def test_patches_are_in_the_order_of_the_tokens(shape):
    image = torch.rand(1, *shape)
    found = patches_of(image, (8,) * (len(shape) - 1))
    assert found.shape == (1, 2, 8 ** (len(shape) - 1) * shape[0])
    second = image[0][:, 8:] if shape[1] == 16 else image[0][:, :, 8:]
    assert torch.equal(found[0, 1], second.movedim(0, -1).flatten())


@pytest.mark.parametrize("body", ["timm", "monai"])
def test_a_masked_autoencoder_learns_the_body_that_the_classifier_has(body):
    torch.manual_seed(0)
    network = tiny() if body == "timm" else ImageClassifier(3, "monai", settings=SOLID)
    shape = (3, 16, 16) if body == "timm" else (1, 16, 8, 8)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    objective = MaskedAutoencoderLoss(network, masked=0.5, width=24, heads=2)
    learning = [*network.body.parameters(), *objective.parameters()]
    optimizer = torch.optim.Adam([one for one in learning if one.requires_grad], 3e-3)
    images = torch.rand(1, *shape).expand(4, *shape).contiguous()
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = objective(network, {"image": images})["loss"]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert not torch.equal(before["body.vit.blocks.0.attn.qkv.weight"], network.body.vit.blocks[0].attn.qkv.weight)


def test_masked_tokens_return_to_their_places():
    tokens = torch.arange(12.0).reshape(2, 6, 1)
    order = torch.stack([torch.randperm(6), torch.randperm(6)])
    assert torch.equal(take(take(tokens, order), order.argsort(1)), tokens)


def test_a_convolutional_network_has_no_patches_to_mask():
    with pytest.raises(UserError, match="needs a transformer"):
        MaskedAutoencoderLoss(ImageClassifier(3, "cnn", settings={"widths": (4, 8, 8, 8)}))


@pytest.mark.parametrize("body", ["timm", "monai"])
def test_deeper_layers_learn_more_slowly_and_vectors_do_not_decay(body):
    network = tiny() if body == "timm" else ImageClassifier(3, "monai", settings={**SOLID, "depth": 2})
    groups = layer_groups(network, 1e-3, layer_decay=0.5, weight_decay=0.1)
    rate = {id(value): group["lr"] for group in groups for value in group["params"]}
    decay = {id(value): group["weight_decay"] for group in groups for value in group["params"]}
    blocks = [block.attn.qkv.weight for block in network.body.vit.blocks]
    assert rate[id(network.head.weight)] == pytest.approx(1e-3)
    assert [rate[id(weight)] for weight in blocks] == pytest.approx([0.25e-3, 0.5e-3])
    stem = network.body.vit.patch_embed.proj.weight if body == "timm" else blocks[0]
    assert rate[id(stem)] <= 0.25e-3 and decay[id(stem)] == 0.1
    assert decay[id(network.head.bias)] == 0.0
    learning = [value for value in network.parameters() if value.requires_grad]
    assert {id(value) for value in learning} == set(rate)


def test_a_resumed_third_stage_ends_with_the_weights_of_one_that_was_not_killed(tmp_path):
    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, row):
            one = batch(1, 2, seed=row)
            return {name: value[0] for name, value in one.items()}

    def trained(folder, stops):
        torch.manual_seed(0)
        network = tiny()
        objective = SemiSupervisedLoss(network, decay=0.9, threshold=0.1)
        for stop in stops:
            groups = layer_groups(network, 1e-3)
            files = {"checkpoint_dir": folder}
            stage(network, Rows(), objective, groups, 1, stop, 2, schedule=None, progress=False, files=files).run()
            if stop != stops[-1]:
                network = tiny()
                objective = SemiSupervisedLoss(network, decay=0.9, threshold=0.1)
        return network.state_dict(), objective.teacher.state_dict()

    whole, parts = trained(tmp_path / "a", [4]), trained(tmp_path / "b", [2, 4])
    for one, other in zip(whole, parts):
        assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_monai_takes_a_patch_that_divides_the_image():
    with pytest.raises(UserError, match="must be a multiple of patch"):
        MonaiViT(image_size=20, patch=8)
