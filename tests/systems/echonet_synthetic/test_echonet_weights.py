"""Released weights of EchoNet-Synthetic in our names: every part at its place and of its size, or one sentence."""

import importlib.util

import pytest
import torch
from bundle_runs import ROOT
from small_video_model import small_video_model

from synthzoo.bundle.compose import load_config
from synthzoo.errors import UserError
from synthzoo.networks.released import read_folder, todays_names
from synthzoo.systems.echonet_synthetic.published_weights import PREFIXES, published_state
from synthzoo.systems.hidden_subspaces.published_weights import convert_reid

BUNDLE = ROOT / "bundles" / "echo_us_cine_synthesis_ldm"
INSTALLED = importlib.util.find_spec("diffusers") is not None


class Holder(torch.nn.Module):
    """A part of the names that the released files have."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


def with_published_names():
    """A small network whose parts are called as the published ones."""
    network = small_video_model()
    network.autoencoder.autoencoder = Holder(autoencoder=Holder(decoder=torch.nn.Linear(2, 3)))
    network.image.unet.unet = Holder(unet=Holder(time_embedding=torch.nn.Linear(3, 2)))
    network.video.unet = Holder(unet=Holder(add_embedding=torch.nn.Linear(4, 2)))
    return network


def released(network) -> dict:
    """The parts of a network as the released files hold them, filled with other numbers."""
    state, parts = network.state_dict(), {}
    for part, prefix in PREFIXES.items():
        own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        parts[part] = {name: value + 1 if value.is_floating_point() else value for name, value in own.items()}
    return parts


def test_each_part_comes_to_its_place_and_latents_are_scaled_as_published():
    network = with_published_names()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = published_state(released(network), network)
    network.load_state_dict(state, strict=True)
    for name, value in network.state_dict().items():
        if name.startswith(tuple(PREFIXES.values())) and value.is_floating_point():
            assert torch.allclose(value, before[name] + 1), name
    assert float(network.scale_factor) == pytest.approx(0.18215) and not network.latent_mean.any()
    assert bool(network.fitted) and not (network.gallery_patient >= 0).any()


def test_exchanged_files_and_other_networks_are_told():
    network = with_published_names()
    parts = released(network)
    with pytest.raises(UserError, match=r"^vae: has no tensors decoder\.\*, .* exchanged\?$"):
        published_state({**parts, "vae": parts["lidm"]}, network)
    with pytest.raises(UserError, match="the published weights: these weights belong to another network"):
        published_state({"lvdm": {"add_embedding.weight": torch.zeros(9, 9)}}, network)
    with pytest.raises(UserError, match="unet: the published parts are vae, lidm, lvdm, reid"):
        published_state({"unet": {}}, network)


def test_attention_of_old_autoencoders_gets_todays_names():
    old = {
        f"decoder.mid_block.attentions.0.{name}.weight": torch.eye(4)[..., None, None]
        for name in ("query", "proj_attn")
    }
    new = todays_names({**old, "decoder.conv_in.weight": torch.zeros(1, 1, 1, 1)})
    assert new["decoder.mid_block.attentions.0.to_q.weight"].shape == (4, 4)
    assert new["decoder.mid_block.attentions.0.to_out.0.weight"].shape == (4, 4)
    assert new["decoder.conv_in.weight"].shape == (1, 1, 1, 1)


def test_folders_of_diffusers_are_read_and_empty_ones_told(tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "vae").mkdir()
    save_file({"decoder.weight": torch.ones(2)}, tmp_path / "vae" / "diffusion_pytorch_model.safetensors")
    assert torch.equal(read_folder(tmp_path / "vae")["decoder.weight"], torch.ones(2))
    (tmp_path / "reid").mkdir()
    torch.save({"fc_end.weight": torch.ones(1)}, tmp_path / "reid" / "dynamic.pth")
    assert list(read_folder(tmp_path / "reid")) == ["fc_end.weight"]
    with pytest.raises(UserError, match=r"lvdm: holds none of .*; download that folder whole\.$"):
        read_folder(tmp_path / "lvdm")


@pytest.mark.skipif(not INSTALLED, reason="needs diffusers")
@pytest.mark.skipif(not BUNDLE.is_dir(), reason="needs the bundle")
def test_tensors_of_the_released_names_and_shapes_fill_the_network_of_paper_json():
    with torch.device("meta"):
        network = load_config(BUNDLE, ["paper"]).get_parsed_content("network_def")
    for part, millions in {"autoencoder": 62.4, "image": 73.55, "video": 143.8}.items():
        numbers = sum(parameter.numel() for parameter in getattr(network, part).parameters())
        assert numbers / 1e6 == pytest.approx(millions, abs=0.06), part
    parts = released(network)
    wrapped = {f"module.{name}": value for name, value in parts["reid"].items()}
    state = published_state({**parts, "reid": convert_reid(wrapped, network.reid)}, network)
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        name: tuple(value.shape) for name, value in network.state_dict().items()
    }
