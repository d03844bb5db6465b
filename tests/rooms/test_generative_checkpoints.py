"""Checkpoints of monai-generative 0.2.3 compute in MONAI core's networks what they computed in their own."""

import json

import generative_networks as old
import pytest
import torch
from typed_commands import SCRIPTS

from synthzoo.bundle.literals import LiteralConfig, build_network
from synthzoo.cli.scripts import call
from synthzoo.errors import UserError
from synthzoo.evaluation.baselines import import_generative
from synthzoo.networks.generative import KINDS, core_settings, core_state, with_spade_eps
from synthzoo.networks.weights import load_weights

RECORDED = old.recorded()
each_case = pytest.mark.parametrize("case", old.CASES)


def core(case, **more):
    kind, settings = old.CASES[case]
    return KINDS[kind](**{**core_settings(kind, json.loads(json.dumps(settings))), **more})


def converted(case, **more):
    kind, settings = old.CASES[case]
    network = core(case, **more)
    network.load_state_dict(core_state(old.tensors(RECORDED[case]["tensors"]), network), strict=True)
    return old.computed(kind, with_spade_eps(network), settings)


@each_case
def test_names_and_shapes_of_the_old_package_give_its_recorded_output(case):
    output = converted(case)
    assert len(output) == RECORDED[case]["numbers"] and output.std() > 0.01
    expected = torch.tensor(RECORDED[case]["output"])
    torch.testing.assert_close(output[:: max(len(output) // 12, 1)], expected, atol=1e-5, rtol=1e-4)


@each_case
def test_outputs_equal_those_of_the_installed_package(case):
    try:
        nets = import_generative()[0]
    except UserError as error:
        pytest.skip(str(error))
    kind, settings = old.CASES[case]
    network = getattr(nets, kind)(**json.loads(json.dumps(settings)))
    shapes = {name: list(value.shape) for name, value in network.state_dict().items()}
    assert shapes == RECORDED[case]["tensors"]
    network.load_state_dict(old.tensors(shapes))
    torch.testing.assert_close(converted(case), old.computed(kind, network, settings), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", ["autoencoder with attention", "U-Net", "SPADE U-Net"])
@pytest.mark.parametrize("more", [{"include_fc": True}, {"use_combined_linear": True}])
def test_attention_of_other_settings_computes_the_same(case, more):
    torch.testing.assert_close(converted(case, **more), converted(case), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", ["U-Net with context", "transformer with context"])
def test_one_matrix_for_query_key_and_value_computes_the_same(case):
    torch.testing.assert_close(converted(case, use_combined_linear=True), converted(case), atol=1e-5, rtol=1e-5)


def test_monais_own_conversion_is_another_network():
    """The two traps: what attention never applied, and norms that were numbered again."""
    for case in ("U-Net", "transformer with context"):
        kind, settings = old.CASES[case]
        network = core(case, **({"include_fc": True} if case == "U-Net" else {}))
        network.load_old_state_dict(old.tensors(RECORDED[case]["tensors"]))
        assert (old.computed(kind, network, settings) - converted(case)).abs().max() > 0.01


def test_spade_norms_of_the_old_autoencoder_have_another_epsilon():
    kind, settings = old.CASES["SPADE autoencoder"]
    network = core("SPADE autoencoder")
    network.load_state_dict(core_state(old.tensors(RECORDED["SPADE autoencoder"]["tensors"]), network))
    difference = (old.computed(kind, network, settings) - converted("SPADE autoencoder")).abs().max()
    assert 0 < difference < 1e-2


def test_a_checkpoint_of_core_and_one_under_ddp_stay_what_they_are():
    network = core("U-Net")
    state = core_state(network.state_dict(), network)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    given = old.tensors(RECORDED["U-Net"]["tensors"])
    wrapped = core_state({f"module.{name}": value for name, value in given.items()}, network)
    assert all(torch.equal(value, wrapped[name]) for name, value in core_state(given, network).items())


@pytest.mark.parametrize(
    ("case", "change", "key"),
    [
        ("U-Net with context", {"cross_attention_dim": 6}, "cross_attention_dim"),
        ("U-Net", {"in_channels": 3}, "in_channels"),
        ("U-Net", {"channels": [8, 24]}, "channels"),
        ("U-Net", {"spatial_dims": 3}, "spatial_dims"),
        ("U-Net of classes", {"num_class_embeds": 4}, "num_class_embeds"),
        ("autoencoder with attention", {"latent_channels": 4}, "latent_channels"),
        ("codebook", {"num_embeddings": 9}, "num_embeddings"),
        ("codebook", {"embedding_dim": 5}, "embedding_dim"),
        ("transformer", {"num_tokens": 10}, "num_tokens"),
        ("transformer", {"max_seq_len": 9}, "max_seq_len"),
        ("transformer", {"attn_layers_dim": 16}, "attn_layers_dim"),
        ("SPADE autoencoder", {"label_nc": 4}, "label_nc"),
        ("SPADE U-Net", {"spade_intermediate_channels": 16}, "spade_intermediate_channels"),
    ],
)
def test_another_shape_is_told_with_both_shapes_and_the_setting(case, change, key):
    with pytest.raises(UserError, match=rf"tensor \S+ is \(.*\), but \(.*\) by network_def#{key}; give"):
        core_state(old.tensors(RECORDED[case]["tensors"]), core(case, **change))


def test_other_networks_are_told():
    given = old.tensors(RECORDED["U-Net"]["tensors"])
    with pytest.raises(UserError, match="no checkpoint of the VQVAE in a#b: tensors .* missing .* and .* unexpected"):
        core_state(given, core("codebook"), key="a#b")
    with pytest.raises(UserError, match=r"1 unexpected \(more\)"):
        core_state({**given, "more": torch.ones(1)}, core("U-Net"))
    with pytest.raises(UserError, match=r"1 missing \(conv_in.conv.bias\)"):
        core_state({name: v for name, v in given.items() if name != "conv_in.conv.bias"}, core("U-Net"))
    with pytest.raises(UserError, match="is a Linear, but networks that can be converted are SPADEAutoencoderKL"):
        core_state({}, torch.nn.Linear(1, 1))
    with pytest.raises(UserError, match="leave include_fc of network_def true"):
        core_state(old.tensors(RECORDED["U-Net with context"]["tensors"]), core("U-Net with context", include_fc=False))
    shapes = dict(RECORDED["autoencoder with attention"]["tensors"])
    with pytest.raises(UserError, match="kernel of 2 voxels, that of monai-generative one of 3"):
        core_state(old.tensors(shapes), core("autoencoder with attention", use_convtranspose=True))


def convert(*words):
    script = next(path for path in SCRIPTS if path.stem == "convert_checkpoint")
    space: dict = {"__name__": "script"}
    exec(compile(script.read_text(), str(script), "exec"), space)
    return call(space["main"], [str(word) for word in words])


def written(folder, case="U-Net", **more):
    kind, settings = old.CASES[case]
    config = {"width": 8, "network_def": {"_target_": f"generative.networks.nets.{kind}", **settings, **more}}
    (folder / "old.json").write_text(json.dumps(config))
    torch.save({"state_dict": old.tensors(RECORDED[case]["tensors"]), "epoch": 3}, folder / "old.pth")
    return ["--checkpoint", folder / "old.pth", "--config", folder / "old.json", "--out", folder / "new.pt"]


def test_the_script_converts_what_an_old_config_defines(tmp_path, capsys):
    convert(*written(tmp_path, num_channels=["@width", 16]))
    said = json.loads(capsys.readouterr().out.splitlines()[0])
    assert said.pop("_target_") == "monai.networks.nets.diffusion_model_unet.DiffusionModelUNet"
    assert said["channels"] == [8, 16] and said["include_fc"] is False
    kind, settings = old.CASES["U-Net"]
    network = load_weights(KINDS[kind](**said), tmp_path / "new.pt")
    torch.testing.assert_close(old.computed(kind, network, settings), converted("U-Net"))


def test_the_network_of_one_of_our_bundles_is_a_target(tmp_path):
    from pathlib import Path

    bundle = Path(__file__).parents[2] / "bundles" / "brain_mr_synthesis_ldm"
    config = LiteralConfig(bundle / "configs" / "inference.json", bundle / "configs" / "paper.json")
    config.content["network_def"]["autoencoder"] |= {"channels": [8, 8, 8, 8], "norm_num_groups": 4}
    network = build_network(config, "network_def#autoencoder")
    before = {name.replace(".postconv.", ".conv."): value for name, value in network.state_dict().items()}
    assert set(core_state(before, network)) == set(network.state_dict()) != set(before)


def test_what_the_script_cannot_read_is_one_sentence(tmp_path):
    words = written(tmp_path)
    config = tmp_path / "old.json"
    definition = json.loads(config.read_text())

    def refused(match, **network):
        config.write_text(json.dumps({**definition, "network_def": {**definition["network_def"], **network}}))
        with pytest.raises(UserError, match=match):
            convert(*words)

    refused("network_def is torch.nn.Linear, but networks that can be converted", _target_="torch.nn.Linear")
    refused("subprocess.call, but networks", _target_="subprocess.call")
    refused("synthzoo.io.files.write_text, which is no class", _target_="synthzoo.io.files.write_text")
    refused(r"network_def#in_channels is \$__import__.* not evaluated here", in_channels="$__import__('os').abort()")
    refused("refers to itself", in_channels="@network_def#in_channels")
    refused("has no key width2; there are width, network_def", in_channels="@width2")
    refused("network_def#colour: DiffusionModelUNet has no such setting", colour=1)
    refused("network_def cannot be built", attention_levels=[True])
    with pytest.raises(UserError, match="has no key autoencoder_def"):
        convert(*words, "--key", "autoencoder_def")
    assert not (tmp_path / "new.pt").exists()


def test_a_pickled_network_is_refused_and_the_remedy_works(tmp_path):
    words = written(tmp_path)
    network = core("U-Net")
    torch.save(network, tmp_path / "old.pth")
    with pytest.raises(UserError, match=r"not a file of plain tensors .*torch\.save\(network\.state_dict\(\), FILE\)"):
        convert(*words)
    torch.save(network.state_dict(), tmp_path / "old.pth")
    convert(*words)
    assert (tmp_path / "new.pt").is_file()


def test_one_of_several_networks_in_a_file_is_named(tmp_path):
    words = written(tmp_path)
    state = old.tensors(RECORDED["U-Net"]["tensors"])
    torch.save({"unet_state_dict": state, "scale_factor": torch.ones(1), "other": {"a": torch.ones(1)}}, words[1])
    with pytest.raises(
        UserError, match="several: convert one of unet_state_dict, other with scripts/convert_checkpoint.py --entry"
    ):
        convert(*words)
    with pytest.raises(UserError, match="no state dict under unet; there are unet_state_dict, other"):
        convert(*words, "--entry", "unet")
    convert(*words, "--entry", "unet_state_dict", "--half")
    assert torch.load(tmp_path / "new.pt", weights_only=True)["conv_in.conv.weight"].dtype == torch.float16
