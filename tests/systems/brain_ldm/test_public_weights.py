"""The published weights of the paper load: every tensor of their two files has its one place in our network.

`public_weights.tsv` lists names and shapes of the files, as the package that wrote them has them at these settings.
MONAI's own conversion is the oracle.
"""

from pathlib import Path

import pytest
import torch
import yaml
from monai.networks.nets import AutoencoderKL, DiffusionModelUNet

from synthzoo.bundle.compose import load_config
from synthzoo.errors import UserError
from synthzoo.systems.brain_ldm.network import LatentDiffusion
from synthzoo.systems.brain_ldm.published_weights import AUTOENCODER, DENOISER, MD5, composite_state

BUNDLE = Path(__file__).parents[3] / "bundles" / "brain_mr_synthesis_ldm"
NARROW = {
    "network_def#autoencoder#channels": [8, 16, 16, 16],
    "network_def#autoencoder#norm_num_groups": 8,
    "network_def#denoiser#unet#channels": [32, 64, 96],
    "network_def#denoiser#unet#num_head_channels": [0, 64, 96],
}


def released(width: int = 1) -> tuple[dict, dict]:
    """The two released state dicts with random tensors; every dimension of 64 and more divided by `width`."""
    states = {"autoencoder": {}, "diffusion": {}}
    for line in (Path(__file__).parent / "public_weights.tsv").read_text().splitlines()[1:]:
        file, name, shape = line.split("\t")
        shape = [int(n) // width if int(n) >= 64 else int(n) for n in shape.split("x")]
        states[file][name] = torch.randn(shape)
    return states["autoencoder"], states["diffusion"]


@pytest.fixture(scope="module")
def narrow() -> LatentDiffusion:
    return load_config(BUNDLE, ["paper"], NARROW).get_parsed_content("network_def")


def test_narrow_files_convert_as_monai_converts_them(narrow):
    torch.manual_seed(0)
    autoencoder, diffusion = released(8)
    state = composite_state(autoencoder, diffusion, narrow)
    narrow.load_state_dict(state, strict=True)
    settings = load_config(BUNDLE, ["paper"], NARROW)["network_def"]
    own = {"_target_", "patch", "refine"}
    theirs = {
        AUTOENCODER: AutoencoderKL(**{k: v for k, v in settings["autoencoder"].items() if k not in own}),
        DENOISER: DiffusionModelUNet(**{k: v for k, v in settings["denoiser"]["unet"].items() if k not in own}),
    }
    for (prefix, network), old in zip(theirs.items(), (autoencoder, diffusion)):
        network.load_old_state_dict(dict(old))  # it empties the dict that it gets
        for name, value in network.state_dict().items():
            assert torch.equal(state[prefix + name], value), name
    assert len(state) == len(autoencoder) + len(diffusion) + len(
        [name for name in state if not name.startswith((AUTOENCODER, DENOISER))]
    )
    assert not state["latent_mean"].any() and bool((state["scale_factor"] == 1).all())


def test_the_script_writes_one_file_that_loads(tmp_path, capsys):
    import importlib.util
    import json
    import shutil

    shutil.copytree(BUNDLE / "configs", tmp_path / "configs")
    path = tmp_path / "configs" / "paper.json"
    settings = json.loads(path.read_text())
    for key, value in NARROW.items():
        *place, last = key.split("#")
        node = settings
        for name in place:
            node = node[name]
        node[last] = value
    path.write_text(json.dumps(settings))
    for name, state in zip(MD5, released(8)):
        torch.save(state, tmp_path / f"{name}.pth")
    spec = importlib.util.spec_from_file_location("convert_weights", BUNDLE.parents[1] / "scripts/convert_weights.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.main(tmp_path / "autoencoder.pth", tmp_path / "diffusion.pth", bundle=tmp_path)
    assert "another file than released" in capsys.readouterr().out
    network = load_config(tmp_path, ["paper"], {"device": "cpu"}).get_parsed_content("network")
    state = torch.load(tmp_path / "diffusion.pth", weights_only=True)
    assert torch.equal(network.denoiser.unet.time_embed[0].weight, state["time_embed.0.weight"])


def test_at_full_width_every_name_and_shape_is_the_networks():
    with torch.device("meta"):
        network = load_config(BUNDLE, ["paper"]).get_parsed_content("network_def")
        autoencoder, diffusion = released()
        state = composite_state(autoencoder, diffusion, network)
    own = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert {name: tuple(value.shape) for name, value in state.items()} == own
    assert sum(value.numel() for value in autoencoder.values()) == 13_766_248
    assert sum(value.numel() for value in diffusion.values()) == 553_168_899


def test_exchanged_or_foreign_files_are_told(narrow):
    autoencoder, diffusion = released(8)
    with pytest.raises(UserError, match="--autoencoder: this file has no tensor decoder"):
        composite_state(diffusion, autoencoder, narrow)
    with pytest.raises(UserError, match="belong to another network"):
        composite_state(autoencoder, {**diffusion, "more": torch.zeros(1)}, narrow)


def test_conditions_reach_the_network_in_the_published_order_and_scale(narrow):
    """[sex, age, ventricular, brain]; age 44 is 0 and 82 is 1, F is 0 and M is 1."""
    conditions = narrow.conditions
    given = torch.tensor([[82.0, 0.0, 5.0, 1600.0], [44.0, 1.0, 120.0, 900.0], [63.0, 1.0, 62.5, 1250.0]])
    assert torch.equal(conditions(given), torch.tensor([[0.0, 1, 0, 1], [1, 0, 1, 0], [1, 0.5, 0.5, 0.5]]))
    assert torch.equal(conditions(torch.full((1, 4), float("nan"))), torch.full((1, 4), 0.5))


def test_the_bundle_lists_the_released_files_with_their_hashes():
    listed = yaml.safe_load((BUNDLE / "large_files.yml").read_text())["large_files"]
    assert [entry["hash_val"] for entry in listed] == list(MD5.values())
    assert all(entry["hash_type"] == "md5" and entry["url"].startswith("https://") for entry in listed)
