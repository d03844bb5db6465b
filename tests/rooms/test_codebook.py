"""The codebook moves only where it should, starts alive and stays so; its loss is MONAI's and finite everywhere."""

import copy
from types import SimpleNamespace

import pytest
import torch
from monai.losses import JukeboxLoss
from monai.networks.nets import VQVAE
from small_tokens import CODES, GRID, small_autoencoder, small_token_images

from synthzoo.datasets.tokens import TokenDataset
from synthzoo.errors import UserError
from synthzoo.networks.codebook import token_counts, usage
from synthzoo.objectives.codebook import CodebookObjective, CodebookReport, spectral_distance

IMAGES = torch.rand(2, 1, 12, 16, 12, generator=torch.Generator().manual_seed(3))


def test_it_is_monais_network():
    settings = {"channels": (8, 8), "num_res_channels": (8, 8), "num_res_layers": 1, "embedding_dim": 4}
    settings |= {"downsample_parameters": ((2, 4, 1, 1),) * 2, "upsample_parameters": ((2, 4, 1, 1, 0),) * 2}
    theirs = VQVAE(3, 1, 1, num_embeddings=CODES, decay=0.9, **settings).eval()
    ours = small_autoencoder().eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert torch.equal(ours(IMAGES)[0], theirs(IMAGES)[0])
    assert torch.equal(ours.encode_tokens(IMAGES), theirs.index_quantize(IMAGES))
    assert torch.allclose(ours.decode_tokens(ours.encode_tokens(IMAGES)), theirs(IMAGES)[0], atol=1e-5)


def test_to_look_tokens_up_moves_no_codebook_in_training_mode_where_monais_call_does():
    network = small_autoencoder().train()
    before = network.quantizer.quantizer.embedding.weight.clone()
    network.encode_tokens(IMAGES)
    assert torch.equal(network.quantizer.quantizer.embedding.weight, before)
    network.index_quantize(IMAGES)
    assert not torch.equal(network.quantizer.quantizer.embedding.weight, before)


def test_a_kernel_of_one_makes_the_second_convolution_of_every_unit_one():
    kernels = {unit.conv2.conv.kernel_size for unit in small_autoencoder(residual_kernel=1).encoder.blocks[1::2]}
    assert kernels == {(1, 1, 1)}
    assert small_autoencoder(residual_kernel=1)(IMAGES)[0].shape == IMAGES.shape
    with pytest.raises(UserError, match="residual_kernel = 5: it is 3, or 1"):
        small_autoencoder(residual_kernel=5)


def test_all_codes_start_at_what_the_encoder_gives_and_dead_ones_come_back():
    network = small_autoencoder()
    book = network.quantizer.quantizer
    encodings = network.encode(IMAGES).detach()
    torch.manual_seed(0)
    assert network.restart_codes(encodings) == CODES
    vectors = encodings.movedim(1, -1).reshape(-1, 4)
    exact = "donot_use_mm_for_euclid_dist"
    assert torch.cdist(book.embedding.weight, vectors, compute_mode=exact).amin(1).max() < 1e-6
    assert network.restart_codes(encodings) == 0, "all are equally counted"
    book.ema_cluster_size[3] = 0
    kept = book.embedding.weight.clone()
    book.embedding.weight[3] = 1e5
    assert network.restart_codes(encodings) == 1
    assert torch.equal(book.embedding.weight[:3], kept[:3]) and book.embedding.weight[3].abs().max() < 1e3
    assert torch.allclose(book.ema_w / book.ema_cluster_size[:, None], book.embedding.weight, atol=1e-5)


def test_perplexity_counts_codes_in_even_use():
    assert usage(token_counts(torch.arange(8), 16)) == pytest.approx({"perplexity": 8.0, "used": 0.5})
    assert usage(torch.tensor([7, 0])) == pytest.approx({"perplexity": 1.0, "used": 0.5})


@pytest.mark.parametrize("shape", [(2, 1, 6, 5, 8), (2, 1, 6, 7), (1, 1, 4, 4, 5)])
def test_the_spectral_distance_is_monais(shape):
    one, two = torch.rand(2, *shape)
    assert spectral_distance(one, two) == pytest.approx(float(JukeboxLoss(len(shape) - 2)(one, two)), rel=1e-5)


def test_the_spectral_distance_has_a_gradient_where_monais_is_nan():
    gradients = {}
    for name, loss in {"ours": spectral_distance, "MONAI": JukeboxLoss(3)}.items():
        image = torch.zeros(1, 1, 4, 4, 4, requires_grad=True)
        loss(image, torch.rand(1, 1, 4, 4, 4)).backward()
        gradients[name] = bool(torch.isfinite(image.grad).all())
    assert gradients == {"ours": True, "MONAI": False}


def test_the_objective_learns_and_its_codebook_is_reported_an_epoch():
    network = small_token_images()
    image = torch.nn.functional.interpolate(torch.rand(2, 1, 3, 4, 3), size=(12, 16, 12), mode="trilinear")
    image = torch.nn.functional.pad(image, (1, 1))
    objective = CodebookObjective(CODES, restart_every=10)
    report = CodebookReport(objective)
    optimizer = torch.optim.Adam([p for p in network.autoencoder.parameters() if p.requires_grad], 3e-3)
    network.train()
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        found = objective(network, {"image": image})
        found["loss"].backward()
        optimizer.step()
        losses.append(float(found["mse"].detach()))
    assert losses[-1] < 0.6 * losses[0]
    assert {"loss", "mse", "spectral", "commitment", "perplexity", "restarted"} <= set(found)
    said = []
    report(SimpleNamespace(state=SimpleNamespace(epoch=1, iteration=40), tell=said.append, writer=None))
    assert int(objective.counts.sum()) == 0 and report.epochs[0]["perplexity"] > 2
    assert "epoch 1: codebook perplexity" in said[0] and f"of {CODES}" in said[0]
    assert copy.deepcopy(objective).state_dict().keys() == {"counts", "calls"}
    assert objective.images(network, {"image": image})["reconstruction"].shape == (1, 12, 32)


def test_tokens_are_encoded_once_and_kept_under_the_name_of_the_weights(tmp_path):
    class Images(torch.utils.data.Dataset):
        cache_dir, read, names = tmp_path, 0, "abc"

        def cache_path(self, row):
            return tmp_path / self.names[row]

        def facts(self, row):
            return {"conditions": torch.tensor([float(row)])}

        def __len__(self):
            return 3

        def __getitem__(self, row):
            self.read += 1
            image = torch.rand(1, 12, 16, 14, generator=torch.Generator().manual_seed(row))
            return {"image": image, **self.facts(row)}

    images, network = Images(), small_token_images()
    rows = TokenDataset(network, images)
    assert images.read == 3 and len(rows) == 3 and rows[2]["conditions"].tolist() == [2.0]
    tokens = rows[1]["tokens"]
    assert tokens.shape == (36,) and tokens.dtype == torch.long
    assert torch.equal(network.grid(tokens[None]), network.encode(images[1]["image"][None]))
    images.read = 0
    assert torch.equal(TokenDataset(network, images)[1]["tokens"], tokens) and images.read == 0
    half = TokenDataset(network, images, amp=True)
    assert images.read == 3 and (half.tokens == rows.tokens).float().mean() > 0.8, "in half precision, kept apart"
    images.read = 0
    with torch.no_grad():
        next(network.autoencoder.parameters()).add_(0.1)
    TokenDataset(network, images)
    assert images.read == 3, "other weights"
    images.names = "abd"
    TokenDataset(network, images)
    assert images.read == 6, "other images"


def test_a_grid_becomes_a_sequence_in_the_published_order_and_back():
    network = small_token_images()
    grid = torch.arange(36).reshape(1, *GRID)
    sequence = network.sequence(grid)
    # A rotation by 90 degrees in the first two axes, then the last axis to the front, then a raster.
    assert sequence[0].tolist() == torch.rot90(grid[0], dims=(0, 1)).permute(2, 0, 1).flatten().tolist()
    assert torch.equal(network.grid(sequence), grid)


def test_the_margin_is_cut_off_and_is_zero_again():
    network = small_token_images()
    image = torch.rand(1, 1, 12, 16, 14)
    assert network.field(image).shape == (1, 1, 12, 16, 12)
    restored = network.decode(network.encode(image))
    assert restored.shape == image.shape and not restored[..., 0].any() and not restored[..., -1].any()
    with pytest.raises(UserError, match="12 codes on a grid of 48 need a transformer of 13 tokens and length 48"):
        small_token_images(token_shape=(4, 4, 3))
