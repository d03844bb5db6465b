"""EchoNet-Synthetic's published networks: diffusers' classes at the published sizes, or one clear sentence."""

import importlib.util
import sys

import pytest
import torch

from synthzoo.errors import UserError
from synthzoo.systems.echonet_synthetic.published_networks import (
    PublishedAutoencoder,
    PublishedImageUNet,
    PublishedVideoUNet,
    cropped,
    even,
)

INSTALLED = importlib.util.find_spec("diffusers") is not None
ALL = {PublishedVideoUNet: 143.8, PublishedImageUNet: 73.55, PublishedAutoencoder: 62.4}


@pytest.mark.parametrize("network", ALL, ids=lambda network: network.__name__)
def test_without_diffusers_one_sentence_says_what_to_install(network, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)  # Python then imports it as little as if it were absent
    with pytest.raises(UserError, match=r"need the package diffusers .*pip install 'synthzoo\[bench\]'"):
        network()


@pytest.mark.skipif(not INSTALLED, reason="needs diffusers")
@pytest.mark.parametrize("network", ALL, ids=lambda network: network.__name__)
def test_the_sizes_are_the_published_ones(network):
    with torch.device("meta"):
        millions = sum(parameter.numel() for parameter in network().parameters()) / 1e6
    assert millions == pytest.approx(ALL[network], abs=0.05)


@pytest.mark.skipif(not INSTALLED, reason="needs diffusers")
def test_clips_frames_and_latents_of_the_published_sizes_fit():
    x, image, level = torch.randn(2, 4, 3, 14, 14), torch.randn(2, 4, 14, 14), torch.tensor([3, 900])
    with torch.no_grad():
        video = PublishedVideoUNet(3)
        out = video(x, level, torch.tensor([[0.5], [float("nan")]]), image)
        assert out.shape == x.shape
        assert torch.allclose(out[1:], video(x, level, torch.zeros(2, 1), image)[1:], atol=1e-4)
        assert PublishedImageUNet()(image, level).shape == image.shape
        autoencoder = PublishedAutoencoder()
        mean, deviation = autoencoder.encode(torch.zeros(1, 3, 112, 112))
        assert mean.shape == deviation.shape == (1, 4, 14, 14)
        assert autoencoder.decode(mean).shape == (1, 3, 112, 112)


@pytest.mark.parametrize("size", [(14, 14), (13, 16), (8, 9)])
def test_what_padding_adds_cropping_takes_away(size):
    x = torch.randn(2, 4, *size)
    padded = even(x)
    assert all(n % 8 == 0 for n in padded.shape[-2:])
    assert torch.equal(cropped(padded, *size), x)
