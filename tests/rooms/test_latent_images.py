"""Autoencoders of grey images, the scale of their latents, and radiographs that are encoded once."""

import pytest
import torch

from synthzoo.datasets.chest.phantoms import ChestPhantomDataset
from synthzoo.datasets.latents import LatentRadiographs
from synthzoo.errors import UserError
from synthzoo.networks.latent_images import LatentImages, radiograph_autoencoder
from synthzoo.networks.saving import save_weights

POOL = {"patients": 8, "studies": 1, "size": 32, "findings": ["nodule"]}


def small_network():
    torch.manual_seed(0)
    return LatentImages(radiograph_autoencoder(channels=(8, 8, 16)), latent_shape=(4, 8, 8)).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pool")


@pytest.fixture(scope="module")
def radiographs(folder):
    return ChestPhantomDataset("TRAIN", exposures="fixed", copies=2, cache_dir=folder, **POOL)


def test_a_radiograph_becomes_a_latent_of_a_quarter_of_its_size_and_comes_back():
    network = small_network()
    image = torch.rand(2, 1, 32, 32)
    latents = network.encode(image)
    assert latents.shape == (2, 4, 8, 8)
    assert network.decode(latents).shape == image.shape
    assert torch.allclose(network.decode(latents), network.autoencoder(image), atol=1e-5)


def test_latents_are_stored_once_with_unit_scale_and_the_truth_of_their_rows(radiographs, folder):
    network = small_network()
    rows = LatentRadiographs(network, radiographs)
    assert abs(float(rows.latents.mean())) < 1e-4 and float(rows.latents.std()) == pytest.approx(1, abs=0.01)
    assert bool(network.fitted)
    first, again = rows[0], rows[1]
    assert first["row"] == again["row"] and not torch.equal(first["latents"], again["latents"])
    assert first["phrases"] == radiographs[0]["phrases"] and "image" not in first
    assert torch.allclose(first["latents"], network.encode(radiographs[0]["image"][None])[0], atol=1e-4)
    stored = list(folder.rglob("latents-*.pt"))
    assert len(stored) == 1
    written = stored[0].stat().st_mtime_ns
    assert torch.equal(LatentRadiographs(network, radiographs).latents, rows.latents)
    assert stored[0].stat().st_mtime_ns == written


def test_fresh_exposures_are_encoded_and_not_stored(folder):
    before = list(folder.rglob("latents-*.pt"))
    rows = LatentRadiographs(small_network(), ChestPhantomDataset("VAL", cache_dir=folder, **POOL))
    assert len(rows) == 1 and list(folder.rglob("latents-*.pt")) == before


def test_an_autoencoder_moves_from_one_network_to_another_with_its_scale(radiographs, tmp_path):
    class Larger(LatentImages):
        def __init__(self):
            super().__init__(radiograph_autoencoder(channels=(8, 8, 16)), latent_shape=(4, 8, 8))
            self.head = torch.nn.Linear(2, 2)

    trained = Larger()
    LatentRadiographs(trained, radiographs)
    save_weights(trained, tmp_path / "model.pt")
    other = small_network().take_autoencoder(tmp_path / "model.pt")
    image = radiographs[0]["image"][None]
    with torch.no_grad():
        assert torch.allclose(other.encode(image), trained.encode(image), atol=1e-5)
    assert bool(other.fitted)


def test_an_autoencoder_that_is_another_or_was_never_measured_is_refused(tmp_path):
    save_weights(small_network(), tmp_path / "new.pt")
    with pytest.raises(UserError, match="scale of its latents was never measured"):
        small_network().take_autoencoder(tmp_path / "new.pt")
    wider = LatentImages(radiograph_autoencoder(channels=(8, 16, 16)), latent_shape=(4, 8, 8))
    with pytest.raises(UserError, match="belong to another network"):
        wider.take_autoencoder(tmp_path / "new.pt")


def test_channels_of_their_own_scale_come_to_unit_spread_and_do_not_mix_with_those_of_one(radiographs, tmp_path):
    torch.manual_seed(0)
    network = LatentImages(
        radiograph_autoencoder(channels=(8, 8, 16)), latent_shape=(4, 8, 8), each_channel=True
    ).eval()
    rows = LatentRadiographs(network, radiographs)
    assert network.scale_factor.shape == (4, 1, 1)
    assert torch.allclose(rows.latents.std((0, 2, 3), correction=0), torch.ones(4), atol=1e-3)
    image = torch.rand(2, 1, 32, 32)
    assert torch.allclose(network.decode(network.encode(image)), network.autoencoder(image), atol=1e-5)
    path = tmp_path / "model.pt"
    save_weights(network, path)
    taken = LatentImages(radiograph_autoencoder(channels=(8, 8, 16)), latent_shape=(4, 8, 8), each_channel=True)
    assert torch.allclose(taken.take_autoencoder(path).scale_factor, network.scale_factor, rtol=1e-2)
    with pytest.raises(UserError, match="scale_factor"):
        small_network().take_autoencoder(path)
