"""MAISI's networks under MONAI's rectified flow are an overlay of the bundle: same tensors, same images, on the CPU."""

import importlib.util
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.apps.generation.maisi.networks.autoencoderkl_maisi import AutoencoderKlMaisi
from monai.apps.generation.maisi.networks.diffusion_model_unet_maisi import DiffusionModelUNetMaisi
from monai.networks.schedulers import RFlowScheduler

from synthzoo.bundle.compose import load_config, run_bundle
from synthzoo.diffusion.rectified_flow import RectifiedFlow, rectified_flow
from synthzoo.diffusion.samplers import ddim
from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.errors import UserError
from synthzoo.networks.generative import core_state
from synthzoo.networks.maisi import ClassLabels, MaisiDenoiser

BUNDLE = Path(__file__).parents[3] / "bundles" / "brain_mr_synthesis_ldm"
SHAPE = (4, 8, 16, 8)
SCALE = 1.25


def small(config):
    config["network_def"]["autoencoder"] |= {"num_channels": [8, 8, 8], "norm_num_groups": 4}
    config["network_def"]["autoencoder"] |= {"num_res_blocks": [1, 1, 1], "num_splits": 1}
    config["network_def"]["denoiser"]["unet"] |= {
        "num_channels": [8, 8, 16, 16],
        "norm_num_groups": 4,
        "num_head_channels": [0, 0, 8, 8],
        "num_res_blocks": 1,
    }
    return {**config, "latent_shape": list(SHAPE), "decode_roi": None, "steps": 3, "device": "cpu"}


def filled(network):
    """A network without layers of zeros, in which nothing could be seen to be missing."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(0.2 * torch.randn(value.shape, generator=generator))
    return network.eval()


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A bundle with small networks, MAISI's two files, and the networks in them."""
    folder = tmp_path_factory.mktemp("maisi")
    shutil.copytree(BUNDLE / "configs", folder / "configs")
    path = folder / "configs" / "paper_maisi.json"
    config = small(json.loads(path.read_text()))
    path.write_text(json.dumps(config))
    parts = config["network_def"]["autoencoder"], config["network_def"]["denoiser"]["unet"]
    settings = [{key: value for key, value in part.items() if key != "_target_"} for part in parts]
    autoencoder, unet = filled(AutoencoderKlMaisi(**settings[0])), filled(DiffusionModelUNetMaisi(**settings[1]))
    torch.save(autoencoder.state_dict(), folder / "autoencoder.pt")
    torch.save({"unet_state_dict": unet.state_dict(), "scale_factor": torch.tensor(SCALE)}, folder / "unet.pt")
    spec = importlib.util.spec_from_file_location("convert_weights", BUNDLE.parents[1] / "scripts/convert_weights.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.main(str(folder / "autoencoder.pt"), str(folder / "unet.pt"), bundle=str(folder), overlay="paper_maisi")
    return folder, autoencoder, unet


@torch.no_grad()
def by_monai(autoencoder, unet, noise, label):
    """MONAI's scheduler and networks alone, with guidance 2 over the class 0."""
    scheduler = RFlowScheduler(use_discrete_timesteps=False, use_timestep_transform=True)
    scheduler.set_timesteps(3, input_img_size_numel=int(np.prod(SHAPE[1:])))
    times = scheduler.timesteps
    spacing = torch.tensor([[94.0, 94.0, 136.0]])
    for t, after in zip(times, torch.cat((times[1:], torch.zeros(1, dtype=times.dtype)))):
        velocity, null = (
            unet(noise, t[None].float(), class_labels=torch.tensor([number]), spacing_tensor=spacing)
            for number in (label, 0)
        )
        noise, _ = scheduler.step(null + 2 * (velocity - null), t, noise, after)
    return autoencoder.decode_stage_2_outputs(noise / SCALE)


def test_the_bundle_gives_the_images_of_monais_own_loop(released, tmp_path):
    folder, autoencoder, unet = released
    asked = {"num_samples": 2, "contrast": ["FLAIR", "T1w_brain"], "seed": 3, "output_dir": str(tmp_path)}
    run_bundle(folder, ["paper_maisi"], asked)
    for number, label in enumerate((11, 29)):
        noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3 + number))[None]
        expected = by_monai(autoencoder, unet, noise, label)[0, 0].clamp(0, 1)
        case = f"sub-000{number + 1}"
        image = nib.load(tmp_path / case / f"{case}_mr.nii.gz")
        assert expected.std() > 0.05 and np.allclose(image.get_fdata(), expected, atol=1e-3)
        assert np.allclose(image.header.get_zooms(), (0.94, 0.94, 1.36))
        sidecar = json.loads((tmp_path / case / f"{case}_mr.json").read_text())
        assert sidecar["Synthetic"] is True and sidecar["requested"] == {"contrast": asked["contrast"][number]}


def test_names_and_shapes_are_those_of_maisi(released):
    for network in released[1:]:
        state = core_state(network.state_dict(), network)
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    with torch.device("meta"):
        parser = load_config(BUNDLE, ["paper_maisi"])
        network = parser.get_parsed_content("network_def")
        parts = parser["network_def"]["autoencoder"], parser["network_def"]["denoiser"]["unet"]
        plain = [{key: value for key, value in part.items() if key != "_target_"} for part in parts]
        own = {"autoencoder.": AutoencoderKlMaisi(**plain[0]), "denoiser.unet.": DiffusionModelUNetMaisi(**plain[1])}
    state = network.state_dict()
    expected = {prefix + name: v.shape for prefix, part in own.items() for name, v in part.state_dict().items()}
    assert {name: state[name].shape for name in expected} == expected
    assert set(state) - set(expected) == {"latent_mean", "scale_factor", "affine"}


@pytest.mark.parametrize("steps", [1, 3, 30])
def test_a_straight_path_ends_at_its_image_in_any_number_of_steps(steps):
    schedule, noise = RectifiedFlow(), torch.randn(2, 1, 4, 4)
    image = torch.rand(2, 1, 4, 4)
    made = rectified_flow(lambda x, t: schedule.target(image, noise, t), noise, schedule, steps)
    torch.testing.assert_close(made, image, atol=1e-5, rtol=0)
    t = torch.tensor([0, 700])
    x0, e = schedule.split(schedule.add_noise(image, noise, t), schedule.target(image, noise, t), t)
    torch.testing.assert_close((x0, e), (image, noise), atol=1e-5, rtol=0)


def test_a_sampler_of_another_kind_of_network_is_told():
    noise = torch.randn(1, 1, 4, 4)
    with pytest.raises(UserError, match="rectified flow, which is sampled by sampler = rflow alone"):
        ddim(lambda x, t: x, noise, RectifiedFlow(), 4)
    with pytest.raises(UserError, match="sampler = rflow samples a rectified flow, which this network is not"):
        rectified_flow(lambda x, t: x, noise, NoiseSchedule(), 4)
    with pytest.raises(UserError, match="steps = 1001: the sampler takes 1 to 1000"):
        rectified_flow(lambda x, t: x, noise, RectifiedFlow(), 1001)


def test_what_maisi_takes_is_asked_for():
    unet = DiffusionModelUNetMaisi(
        3,
        1,
        1,
        1,
        (8,),
        (False,),
        4,
        num_head_channels=8,
        include_spacing_input=True,
        include_top_region_index_input=True,
    )
    with pytest.raises(UserError, match="spacing_mm is None: this network takes 3 numbers there"):
        MaisiDenoiser(unet)
    with pytest.raises(UserError, match=r"top_region is \[1\]: this network takes 4 numbers"):
        MaisiDenoiser(unet, [1, 1, 1], [1])
    made = MaisiDenoiser(unet, [1, 1, 1], [0, 1, 0, 0])(
        torch.randn(2, 1, 4, 4, 4), torch.tensor([5, 9]), torch.zeros(2, 1, 1)
    )
    assert made.shape == (2, 1, 4, 4, 4)
    labels = ClassLabels([9, 10])
    assert labels(torch.tensor([[0.0], [1.0], [float("nan")]])).tolist() == [[9], [10], [0]]
