"""A stock generative bundle is adopted without being changed or run: small ones in the layouts of the model zoo.

Of mednist_gan, mednist_ddpm, brats_mri_*_generative_diffusion and brain_image_synthesis_latent_diffusion_model the keys
and expressions are kept, the networks are small.
"""

import hashlib
import json

import generative_networks as old
import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from monai.networks import nets
from PIL import Image
from typed_commands import SCRIPTS

from synthzoo.bundle.adopt import adopt_bundle
from synthzoo.bundle.compose import load_workflow, run_bundle
from synthzoo.bundle.inspect.judge import inspect_bundle
from synthzoo.cli.scripts import call
from synthzoo.errors import UserError, find_user_error
from synthzoo.evaluation.baselines import import_generative
from synthzoo.io.marks import read_mark
from synthzoo.serving.served import ServedBundle

COMMON = {
    "imports": ["$import torch", "$from scripts import anything"],
    "bundle_root": ".",
    "model_dir": "$@bundle_root + '/models'",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
}
UNET = {"spatial_dims": 3, "in_channels": 5, "out_channels": 3, "num_channels": [8, 16], "num_res_blocks": 1} | {
    "attention_levels": [False, True],
    "norm_num_groups": 4,
    "num_head_channels": [0, 8],
    "resblock_updown": True,
    "with_conditioning": True,
    "cross_attention_dim": 2,
    "use_flash_attention": False,
}
AUTOENCODER = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "latent_channels": 3, "num_channels": [8, 8]} | {
    "num_res_blocks": 1,
    "norm_num_groups": 4,
    "attention_levels": [False, False],
    "with_encoder_nonlocal_attn": False,
    "with_decoder_nonlocal_attn": False,
}
LATENTS = {
    **COMMON,
    "age": 0.1,
    "volume": 0.4,
    "conditioning": "$torch.tensor([[@age, @volume]]).to(@device).unsqueeze(1)",
    "autoencoder_def": {"_target_": "generative.networks.nets.AutoencoderKL", **AUTOENCODER},
    "load_autoencoder_path": "$@model_dir + '/autoencoder.pth'",
    "load_autoencoder": "$@autoencoder_def.load_state_dict(torch.load(@load_autoencoder_path))",
    "diffusion_def": {"_target_": "generative.networks.nets.DiffusionModelUNet", **UNET},
    "load_diffusion_path": "$@model_dir + '/diffusion_model.pth'",
    "load_diffusion": "$@diffusion_def.load_state_dict(torch.load(@load_diffusion_path))",
    "scheduler": {
        "_target_": "generative.networks.schedulers.DDIMScheduler",
        "_requires_": ["@load_diffusion", "@load_autoencoder"],
        "beta_start": 0.0015,
        "beta_end": 0.0205,
        "num_train_timesteps": 1000,
        "schedule": "scaled_linear_beta",
        "clip_sample": False,
    },
    "noise": "$torch.randn((1, 3, 4, 6, 4)).to(@device)",
    "set_timesteps": "$@scheduler.set_timesteps(num_inference_steps=5)",
    "sampler": {"_target_": "scripts.sampler.Sampler", "_requires_": "@set_timesteps"},
    "sample": "$@sampler.sampling_fn(@noise, @autoencoder_def, @diffusion_def, @scheduler, @conditioning)",
}
GAN = {
    **COMMON,
    "ckpt_path": "$@bundle_root + '/models/model.pt'",
    "latent_size": 6,
    "num_samples": 10,
    "network_def": {
        "_target_": "Generator",
        "latent_shape": "@latent_size",
        "start_shape": [4, 4, 4],
        "channels": [4, 1],
        "strides": [2, 1],
    },
    "network": "$@network_def.to(@device)",
    "dataset": {"_target_": "Dataset", "data": "$[torch.rand(@latent_size) for i in range(@num_samples)]"},
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}],
    },
    "handlers": [{"_target_": "CheckpointLoader", "load_path": "@ckpt_path", "load_dict": {"model": "@network"}}],
    "inferring": ["$@evaluator.run()"],
}
PIXELS = {
    "network_def": {
        "_target_": "generative.networks.nets.DiffusionModelUNet",
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": 1,
        "num_channels": [8, 16],
        "attention_levels": [False, True],
        "num_res_blocks": 1,
        "num_head_channels": 8,
        "norm_num_groups": 4,
    },
    "network": "$@network_def.to(@device)",
    "bundle_root": ".",
    "ckpt_path": "$@bundle_root + '/models/model.pt'",
    "image_dim": 16,
    "scheduler": {"_target_": "generative.networks.schedulers.DDPMScheduler", "num_train_timesteps": 6},
}
PIXELS_INFER = {
    "noise": "$torch.rand(1,1,@image_dim,@image_dim)",
    "load_state": "$@network.load_state_dict(torch.load(@ckpt_path))",
    "testing": ["@load_state"],
}


def filled(network, seed=0):
    return old.tensors({name: list(value.shape) for name, value in network.state_dict().items()}, seed)


def old_names(state):
    """Of a U-Net with context or an autoencoder without attention, as monai-generative has them."""
    return {
        name.replace(".out_proj.", ".to_out.0.").replace(".postconv.conv.", ".conv.conv."): value
        for name, value in state.items()
    }


def core(kind, settings):
    names = {("channels" if name == "num_channels" else name): value for name, value in settings.items()}
    return getattr(nets, kind)(**names)


def stock(folder, configs, weights, inputs=None, modality="MR"):
    """A stock bundle; its scripts fail where they are imported."""
    tensor = {"type": "image", "format": "magnitude", "modality": modality, "num_channels": 1}
    data = {"inputs": {"image": inputs or {}}, "outputs": {"pred": {**tensor, "channel_def": {"0": "T1w"}}}}
    said = {"version": "1.0.0", "task": "$__import__('os').abort()", "authors": "A", "network_data_format": data}
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "scripts").mkdir()
    (folder / "scripts" / "__init__.py").write_text("raise SystemExit('this was imported')\n")
    (folder / "LICENSE").write_text("Apache License 2.0\n")
    for name, content in {"metadata.json": said, **configs}.items():
        text = json.dumps(content) if name.endswith("json") else yaml.safe_dump(content)
        (folder / "configs" / name).write_text(text)
    for name, state in weights.items():
        torch.save(state, folder / "models" / name)
    return folder


def files_of(folder):
    return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def latents(tmp_path_factory):
    autoencoder, unet = (
        filled(core(*given)) for given in (("AutoencoderKL", AUTOENCODER), ("DiffusionModelUNet", UNET))
    )
    inputs = {"value_range": [0, 1], "channel_def": {"0": "Age", "1": "Volume"}}
    weights = {"autoencoder.pth": old_names(autoencoder), "diffusion_model.pth": old_names(unet)}
    folder = tmp_path_factory.mktemp("zoo") / "brain_image_synthesis"
    return stock(folder, {"inference.json": LATENTS}, weights, inputs), autoencoder, unet


@pytest.fixture(scope="module")
def adopted(latents):
    before = files_of(latents[0])
    place = adopt_bundle(latents[0], spacing_mm=2.0)
    assert files_of(latents[0]) == before and place == latents[0].parent / "brain_image_synthesis_adopted"
    return place


def test_it_has_seeds_requests_resume_sidecars_and_marks(adopted, tmp_path):
    asked = {"num_samples": 2, "seed": 3, "age": 0.7, "output_dir": str(tmp_path / "out"), "device": "cpu"}
    run_bundle(adopted, overrides=asked)
    image = tmp_path / "out" / "sub-0001" / "sub-0001_T1w.nii.gz"
    sidecar = json.loads(image.with_name("sub-0001_T1w.json").read_text())
    assert sidecar["requested"] == {"age": 0.7, "volume": 0.4} and sidecar["seed"] == 3 and sidecar["Synthetic"] is True
    assert nib.load(image).header.get_zooms() == (2.0, 2.0, 2.0) and nib.load(image).shape == (8, 12, 8)
    assert read_mark(image).synthetic
    before = files_of(tmp_path / "out")
    run_bundle(adopted, overrides=asked)
    assert files_of(tmp_path / "out") == before
    (tmp_path / "table.csv").write_text("participant_id,seed,age\nsub-a,4,n/a\n")
    run_bundle(adopted, overrides={"requests": str(tmp_path / "table.csv"), "output_dir": str(tmp_path / "other")})
    assert (tmp_path / "other" / "sub-a" / "sub-a_T1w.nii.gz").is_file()
    with pytest.raises(Exception) as told:  # MONAI wraps it
        run_bundle(adopted, overrides={**asked, "age": 7, "output_dir": str(tmp_path / "no")})
    assert "age" in str(find_user_error(told.value)) and "0" in str(find_user_error(told.value))


def test_it_gives_the_images_of_the_stock_sampler(latents, adopted, tmp_path):
    try:
        theirs, schedulers, _ = import_generative()
    except UserError as error:
        pytest.skip(str(error))
    unet, autoencoder = theirs.DiffusionModelUNet(**UNET).eval(), theirs.AutoencoderKL(**AUTOENCODER).eval()
    unet.load_state_dict(old_names(latents[2]))
    autoencoder.load_state_dict(old_names(latents[1]))
    settings = {key: value for key, value in LATENTS["scheduler"].items() if key[0] != "_"}
    scheduler = schedulers.DDIMScheduler(**settings)
    scheduler.set_timesteps(5)
    image = torch.randn(3, 4, 6, 4, generator=torch.Generator().manual_seed(3))[None]
    context = torch.tensor([[[0.7, 0.4]]])
    maps = context[0, 0].reshape(1, 2, 1, 1, 1).expand(1, 2, 4, 6, 4)
    with torch.no_grad():
        for t in scheduler.timesteps:
            image, _ = scheduler.step(unet(torch.cat([image, maps], 1), t[None], context=context), t, image)
        expected = autoencoder.decode_stage_2_outputs(image)[0, 0].clamp(0, 1)
    run_bundle(adopted, overrides={"seed": 3, "age": 0.7, "output_dir": str(tmp_path), "device": "cpu"})
    made = nib.load(tmp_path / "sub-0001" / "sub-0001_T1w.nii.gz").get_fdata()
    assert expected.std() > 0.05 and np.allclose(made, expected, atol=1e-3)


def test_the_inspection_passes_it_and_the_label_app_can_serve_it(adopted):
    assert inspect_bundle(adopted).verdict == "pass"
    workflow = load_workflow(adopted, overrides={"device": "cpu", "output_dir": None})
    workflow.initialize()
    assert not workflow.check_properties()
    served = ServedBundle(adopted)
    assert {"age", "volume", "seed", "steps"} <= set(served.options) and served.task == "synthesis"
    index = json.loads((adopted.parent / "bundle_index.json").read_text())
    assert index["bundles"][adopted.name]["task"] == "synthesis"
    said = json.loads((adopted / "configs" / "metadata.json").read_text())
    assert not any(text.startswith("$") for text in said.values() if isinstance(text, str))


def test_a_gan_is_adopted_with_its_uniform_noise(tmp_path):
    generator = nets.Generator(6, [4, 4, 4], [4, 1], [2, 1]).eval()
    generator.load_state_dict(filled(generator))
    weights = {"model.pt": {"model": generator.state_dict()}}
    folder = stock(tmp_path / "mednist_gan", {"inference.json": GAN}, weights, modality="xray")
    place = adopt_bundle(folder)
    assert place.name == "mednist_gan_synthesis_adopted"
    run_bundle(place, overrides={"num_samples": 2, "seed": 5, "output_dir": str(tmp_path / "out"), "device": "cpu"})
    for seed in (5, 6):
        noise = torch.randn(6, generator=torch.Generator().manual_seed(seed))[None]
        with torch.no_grad():
            expected = generator(torch.special.ndtr(noise)).sigmoid()[0, 0]
        case = f"sub-000{seed - 4}"
        made = np.asarray(Image.open(tmp_path / "out" / case / f"{case}_T1w.png")) / 65535
        assert np.allclose(made.T, expected, atol=1e-4) and not np.allclose(made, expected, atol=1e-2)


def test_diffusion_of_pixels_in_two_yaml_files_is_adopted(tmp_path):
    settings = {key: value for key, value in PIXELS["network_def"].items() if key != "_target_"}
    unet = filled(core("DiffusionModelUNet", {**settings, "include_fc": False}))
    as_old = {}
    for name, value in old_names(unet).items():
        as_old[name.replace(".attn.", ".")] = value
        if name.endswith(".attn.to_q.weight"):
            block = name.removesuffix(".attn.to_q.weight")
            as_old |= {f"{block}.proj_attn.weight": torch.randn(16, 16), f"{block}.proj_attn.bias": torch.randn(16)}
    configs = {"common.yaml": PIXELS, "infer.yaml": PIXELS_INFER}
    place = adopt_bundle(stock(tmp_path / "mednist_ddpm", configs, {"model.pt": as_old}))
    config = json.loads((place / "configs" / "inference.json").read_text())
    assert config["steps"] == 6 and config["inferer"]["eta"] == 1 and config["inferer"]["clip"] == 1
    state = torch.load(place / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(value, state[f"denoiser.{name}"]) for name, value in unet.items())
    run_bundle(place, overrides={"output_dir": str(tmp_path / "out"), "device": "cpu"})
    assert (tmp_path / "out" / "sub-0001" / "sub-0001_T1w.png").is_file()


def changed(config, **more):
    config = json.loads(json.dumps(config))
    for key, value in more.items():
        *place, last = key.split("__")
        node = config
        for name in place:
            node = node[name]
        node[last] = value
    return config


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"diffusion_def__in_channels": "$__import__('os').abort()"}, "diffusion_def#in_channels is .* not evaluated"),
        ({"autoencoder_def__act": {"_target_": "os.abort"}}, r"autoencoder_def#_target_ is no setting of a network"),
        ({"autoencoder_def___target_": "os.abort"}, "autoencoder_def is os.abort, which only this bundle's own code"),
        ({"controlnet_def": {"_target_": "ControlNet"}}, "controlnet_def is ControlNet, which only this bundle's own"),
        ({"noise": "$torch.randn(len(open('/etc/passwd').read()))"}, "does not tell the shape of its noise"),
        ({"noise": "$torch.randn(@age)"}, "does not tell the shape of its noise"),
        (
            {"conditioning": "$@text_encoder(@prompt)[0]"},
            "context that is no list of 2 numbers, such as .* text encoder",
        ),
        ({"load_diffusion_path": "$open('/etc/passwd')"}, "does not tell where the weights of diffusion_def are; give"),
        ({"load_diffusion_path": "$@model_dir + '/../../x.pt'"}, r"models/x\.pt: these weights are not there"),
        ({"scheduler__schedule": "cosine"}, "has schedule cosine and prediction_type epsilon; adopted are linear_beta"),
        ({"scheduler__beta_start": "$exit()"}, r"scheduler#beta_start is \$exit\(\), which is not evaluated"),
        ({"scheduler__num_train_timesteps": "many"}, "configs are not understood"),
        ({"scheduler__schedule": []}, "configs are not understood"),
        ({"autoencoder_def__num_channels": "wide"}, "configs are not understood"),
        ({"diffusion_def__num_class_embeds": 4}, "waits for a class label"),
        ({"diffusion_def__in_channels": 9}, r"in_channels is 9, but its noise has 3 channels and it has 2 conditions"),
        ({"diffusion_def__num_channels": [8, 24]}, r"diffusion_model\.pth: tensor .* by denoiser#channels; give"),
    ],
)
def test_what_would_have_to_be_run_is_refused(latents, tmp_path, change, match):
    folder = stock(tmp_path / "my_image_synthesis", {"inference.json": changed(LATENTS, **change)}, {})
    for path in (latents[0] / "models").iterdir():
        (folder / "models" / path.name).symlink_to(path)
    with pytest.raises(UserError, match=match):
        adopt_bundle(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["my_image_synthesis"]


def test_a_condition_with_the_name_of_a_key_is_refused(latents, tmp_path):
    config = {("weights" if key == "age" else key): value for key, value in LATENTS.items()}
    config["conditioning"] = "$torch.tensor([[@weights, @volume]])"
    folder = stock(tmp_path / "my_image_synthesis", {"inference.json": config}, {})
    for path in (latents[0] / "models").iterdir():
        (folder / "models" / path.name).symlink_to(path)
    with pytest.raises(UserError, match="its condition weights has the name of a key"):
        adopt_bundle(folder)


def test_pickled_weights_and_other_folders_are_refused(latents, adopted, tmp_path):
    folder = stock(tmp_path / "my_image_synthesis", {"inference.json": LATENTS}, {})
    with pytest.raises(UserError, match=r"autoencoder\.pth: these weights are not there; python -m monai"):
        adopt_bundle(folder)
    torch.save(nets.Generator(6, [4, 4, 4], [4, 1], [2, 1]), folder / "models" / "autoencoder.pth")
    with pytest.raises(UserError, match="not a file of plain tensors"):
        adopt_bundle(folder, weights={"denoiser": str(latents[0] / "models" / "diffusion_model.pth")})
    with pytest.raises(UserError, match="is a bundle of this library already"):
        adopt_bundle(adopted)
    with pytest.raises(UserError, match=r"exists already; name another folder with --out"):
        adopt_bundle(latents[0])
    with pytest.raises(UserError, match="is no generative bundle"):
        adopt_bundle(tmp_path)


def test_the_script_says_how_to_run_and_serve(latents, tmp_path, capsys):
    script = next(path for path in SCRIPTS if path.stem == "adopt_bundle")
    space: dict = {"__name__": "script"}
    exec(compile(script.read_text(), str(script), "exec"), space)
    call(space["main"], [str(latents[0]), "--out", str(tmp_path / "my_brain_synthesis_adopted")])
    said = capsys.readouterr().out
    assert "run it with python -m monai.bundle run" in said and f"--conf bundle_dir {tmp_path}" in said
