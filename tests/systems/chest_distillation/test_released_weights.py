"""Stable Diffusion's weights from a folder: every one has its place, outputs and attention are those of diffusers."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
import torch
from released_model import LENGTH, PHRASES, WIDTH, save_model

from synthzoo.diffusion.schedule import NoiseSchedule
from synthzoo.errors import UserError
from synthzoo.networks.generative import core_names
from synthzoo.networks.released import read_config
from synthzoo.networks.stable_diffusion import (
    PublishedAutoencoder,
    PublishedTextEncoder,
    PublishedTokenizer,
    stable_diffusion_unet,
    unet_settings,
)
from synthzoo.networks.stable_diffusion_weights import (
    core_unet,
    published_state,
    read_autoencoder,
    read_text_encoder,
    read_unet,
)
from synthzoo.systems.chest_distillation import published_weights
from synthzoo.systems.chest_distillation.published_weights import MONAI_AUTOENCODER, MONAI_UNET, read_monai_chest

INSTALLED = all(importlib.util.find_spec(name) for name in ("diffusers", "transformers"))
pytestmark = pytest.mark.skipif(not INSTALLED, reason="needs diffusers and transformers: synthzoo[text]")


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """Folder and parts of a small model in the layout of Stable Diffusion 2."""
    folder = tmp_path_factory.mktemp("released") / "stable-diffusion"
    return folder, save_model(folder)


@pytest.fixture
def copied(released, tmp_path):
    """A copy of the folder that a test may damage."""
    return shutil.copytree(released[0], tmp_path / "model")


def noisy():
    torch.manual_seed(3)
    return torch.randn(2, 4, 8, 8), torch.tensor([1, 781]), torch.randn(2, LENGTH, WIDTH)


def test_the_unet_predicts_what_diffusers_predicts(released):
    folder, parts = released
    x, t, context = noisy()
    with torch.no_grad():
        theirs = parts["unet"](x, t, encoder_hidden_states=context).sample
        ours = read_unet(folder / "unet")(x, t, context=context)
    assert float((ours - theirs).abs().max()) < 1e-5 < float(theirs.std()) / 100


@pytest.mark.parametrize("linear, safe", [(False, True), (True, False)], ids=["Stable Diffusion 1", "pickles"])
def test_other_layouts_load_too(tmp_path, linear, safe):
    parts = save_model(tmp_path / "model", linear, safe)
    x, t, context = noisy()
    with torch.no_grad():
        theirs = parts["unet"](x, t, encoder_hidden_states=context).sample
        assert torch.allclose(read_unet(tmp_path / "model" / "unet")(x, t, context=context), theirs, atol=1e-5)
        image = torch.rand(1, 3, 16, 16)
        assert torch.equal(
            read_autoencoder(tmp_path / "model" / "vae").encode(image)[0], parts["vae"].encode(image)[0].mean
        )
        tokens = torch.arange(LENGTH)[None]
        context = read_text_encoder(tmp_path / "model" / "text_encoder")(tokens)
        assert torch.equal(context, parts["text_encoder"](tokens).last_hidden_state)


def test_attention_that_monai_keeps_is_that_of_diffusers(released):
    """All cross-attention layers, in their order, (B, heads, places, tokens)."""
    from diffusers.models.attention_processor import AttnProcessor

    kept = {}

    class Keeping(AttnProcessor):
        """Keeps the scores of one layer by its name."""

        def __init__(self, name):
            self.name = name

        def __call__(self, attention, hidden_states, encoder_hidden_states=None, attention_mask=None, **more):
            query = attention.head_to_batch_dim(attention.to_q(hidden_states))
            key = attention.head_to_batch_dim(attention.to_k(encoder_hidden_states))
            kept[self.name] = attention.get_attention_scores(query, key)
            return super().__call__(attention, hidden_states, encoder_hidden_states, attention_mask)

    folder, parts = released
    unet, before = parts["unet"], dict(parts["unet"].attn_processors)
    own = read_unet(folder / "unet")
    layers = {name: part for name, part in own.named_modules() if name.endswith(".attn2")}
    for part in layers.values():
        part.save_attn = True
    x, t, context = noisy()
    unet.set_attn_processor({name: Keeping(name) if "attn2" in name else old for name, old in before.items()})
    with torch.no_grad():
        unet(x, t, encoder_hidden_states=context)
        own(x, t, context=context)
    unet.set_attn_processor(dict(before))
    assert len(kept) == len(layers) == 2 * 2 + 1 + 2 * 3
    for name, scores in kept.items():
        name = name.removesuffix(".processor").replace("mid_block.attentions.0", "middle_block.attention")
        maps = layers[name].att_mat
        assert maps.shape == (2, layers[name].num_heads, *scores.shape[1:])
        assert float((maps.flatten(0, 1) - scores).abs().max()) < 1e-5
        assert torch.allclose(maps.sum(-1), torch.ones(()), atol=1e-5)


def test_autoencoder_text_encoder_and_schedule_are_those_of_from_pretrained(released):
    from diffusers import AutoencoderKL
    from transformers import AutoTokenizer, CLIPTextModel

    folder, parts = released
    vae = AutoencoderKL.from_pretrained(folder / "vae", local_files_only=True, low_cpu_mem_usage=False)
    text = CLIPTextModel.from_pretrained(folder / "text_encoder", local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    image, latent = torch.rand(2, 3, 16, 16) * 2 - 1, torch.randn(2, 4, 8, 8)
    ours, tokens = read_autoencoder(folder / "vae"), PublishedTokenizer(folder / "tokenizer", LENGTH)(PHRASES)
    with torch.no_grad():
        assert torch.allclose(ours.encode(image)[0], vae.encode(image).latent_dist.mean, atol=1e-6)
        assert torch.allclose(ours.decode_stage_2_outputs(latent), vae.decode(latent).sample, atol=1e-6)
        mean, deviation = ours.encode(image)
        torch.manual_seed(5)
        drawn = torch.stack([ours.encode_stage_2_inputs(image) for _ in range(200)])
        assert torch.allclose(drawn.mean(0), mean, atol=5 * float(deviation.max()) / 200**0.5)
        theirs = tokenizer(list(PHRASES), padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
        assert torch.equal(tokens, theirs.input_ids)
        assert torch.equal(read_text_encoder(folder / "text_encoder")(tokens), text(theirs.input_ids).last_hidden_state)
    alphas = parts["scheduler"].alphas_cumprod.double()
    schedule = NoiseSchedule.released(read_config(folder / "scheduler", "scheduler_config.json"), folder)
    assert schedule.prediction == "epsilon" and torch.allclose(schedule.alpha**2, alphas, atol=1e-6)
    assert ours.scale == pytest.approx(0.18215)


def test_frozen_encoders_learn_nothing_and_learnable_ones_all(released):
    folder = released[0] / "text_encoder"
    assert not any(p.requires_grad for p in read_text_encoder(folder).parameters())
    assert all(p.requires_grad for p in read_text_encoder(folder, learnable=True).parameters())


def test_words_know_their_tokens_whatever_the_pieces(released):
    tokenizer = PublishedTokenizer(released[0] / "tokenizer", LENGTH)
    phrase = "Small  left pleural effusion."
    ids, words = tokenizer([phrase])[0].tolist(), tokenizer.words(phrase)
    assert [word for word, _ in words] == phrase.split()
    flat = [position for _, own in words for position in own]
    assert flat == list(range(1, len(flat) + 1)) and ids[0] == 0 and ids[len(flat) + 1] == 1
    for word, own in words:
        assert "".join(tokenizer.tokenizer.decode([ids[n] for n in own]).split()) == word.lower()
    assert tokenizer.groups(phrase, ("effusion", "pleural")) == [own for word, own in words if word[0] in "pe"]
    assert tokenizer.groups(phrase, ("nodule",)) == [own for _, own in words]
    assert tokenizer.positions(phrase, ("pleural",)) == dict(words)["pleural"]
    many = "effusion " * 40 + "nodule"
    places = tokenizer.words(many)
    assert places[-1] == ("nodule", []) and max(n for _, own in places for n in own) == LENGTH - 2
    assert tokenizer.check("  left   effusion ") == "left effusion"
    for prompt, said in ((many, r"has \d+ tokens, but may have 22"), (" ", "is empty"), (3, "is 3, but must be text")):
        with pytest.raises(UserError, match=f"^prompt {said}"):
            tokenizer.check(prompt)


def small_network(folder):
    """A composite of parts of the folder's sizes, all zero."""
    network = torch.nn.Module()
    network.denoiser = read_unet(folder / "unet")
    network.autoencoder = torch.nn.Sequential(read_autoencoder(folder / "vae"))
    network.text = read_text_encoder(folder / "text_encoder")
    network.schedule = NoiseSchedule(beta_start=0.00085, beta_end=0.012)
    for name, value in {
        "latent_mean": torch.ones(4, 1, 1),
        "scale_factor": torch.ones(()),
        "fitted": torch.tensor(0),
    }.items():
        network.register_buffer(name, value)
    with torch.no_grad():
        for value in network.parameters():
            value.zero_()
    return network


def test_a_whole_network_is_filled_and_every_weight_used_once(released):
    folder, parts = released
    network = small_network(folder)
    state = published_state(folder, network)
    network.load_state_dict(state, strict=True)
    numbers = sum(value.numel() for part in ("unet", "vae", "text_encoder") for value in parts[part].parameters())
    assert numbers == sum(value.numel() for value in network.parameters())
    x, t, context = noisy()
    with torch.no_grad():
        theirs = parts["unet"](x, t, encoder_hidden_states=context).sample
        assert torch.allclose(network.denoiser(x, t, context=context), theirs, atol=1e-5)
    assert float(network.scale_factor) == pytest.approx(0.18215) and not network.latent_mean.any() and network.fitted


def test_half_precision_shards_and_old_names_are_read(copied):
    from safetensors.torch import load_file, save_file

    whole = read_unet(copied / "unet").state_dict()
    path = copied / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    path.unlink()
    names = sorted(state)
    shards = {f"diffusion_pytorch_model-0000{n + 1}-of-00002.safetensors": names[n::2] for n in range(2)}
    for file, own in shards.items():
        save_file({name: state[name] for name in own}, path.with_name(file))
    index = {"weight_map": {name: file for file, own in shards.items() for name in own}}
    path.with_name(path.name + ".index.json").write_text(json.dumps(index))
    assert all(torch.equal(whole[name], value) for name, value in read_unet(copied / "unet").state_dict().items())
    path.with_name(path.name + ".index.json").unlink()
    save_file(
        {name: value.half() for name, value in state.items()},
        path.with_name("diffusion_pytorch_model.fp16.safetensors"),
    )
    half = read_unet(copied / "unet")
    assert all(p.dtype == torch.float32 and torch.allclose(p, whole[n], atol=1e-3) for n, p in half.named_parameters())
    text = copied / "text_encoder" / "model.safetensors"
    old = {f"text_model.{name}": value for name, value in load_file(text).items()}
    old["text_model.embeddings.position_ids"] = torch.arange(LENGTH)[None]
    before = read_text_encoder(copied / "text_encoder").state_dict()
    save_file(old, text)
    after = read_text_encoder(copied / "text_encoder").state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_the_encoder_of_a_model_tuned_on_radiographs_is_read_as_the_bert_that_it_is(tmp_path):
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48)
    bert = BertModel(config, add_pooling_layer=False).eval()
    bert.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    settings |= {"model_type": "cxr-bert", "projection_size": 16, "auto_map": {"AutoModel": "modeling.CXRBertModel"}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    state = {f"bert.{name}": value for name, value in bert.state_dict().items()}
    state |= {
        "cls.predictions.bias": torch.zeros(60),
        "cls_projection_head.dense_to_output.weight": torch.zeros(16, 32),
    }
    next(tmp_path.glob("*.safetensors")).unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    tokens = torch.randint(0, 60, (2, 9))
    with torch.no_grad():
        assert torch.allclose(read_text_encoder(tmp_path)(tokens), bert(tokens).last_hidden_state, atol=1e-6)


def test_the_tokenizer_of_cxr_bert_is_read_without_its_code(tmp_path):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "left", "pleural", "effusion", "##s", "."]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n")
    settings = {"tokenizer_class": "CXRBertTokenizer", "auto_map": {"AutoTokenizer": ["code.CXRBertTokenizer", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**settings, "do_lower_case": True}))
    tokenizer = PublishedTokenizer(tmp_path, 8)
    assert tokenizer(["Left effusions.", ""]).tolist() == [[2, 5, 7, 8, 9, 3, 0, 0], [2, 3, 0, 0, 0, 0, 0, 0]]
    assert tokenizer.words("Left effusions.") == [("Left", [1]), ("effusions.", [2, 3, 4])]


def edit(path, **settings):
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


class Hostile:
    """Runs code where a pickle is read without care."""

    def __reduce__(self):
        return print, ("code of the file ran",)


def test_a_folder_that_lacks_or_exchanges_a_file_is_told_in_a_sentence(copied, capsys):
    network = small_network(copied)
    with pytest.raises(UserError, match=r"absent.unet.config\.json: cannot be read \(No such file.*\)"):
        published_state(copied.parent / "absent", network)
    unet, vae = copied / "unet", copied / "vae"
    (unet / "diffusion_pytorch_model.safetensors").rename(copied / "kept")
    with pytest.raises(UserError, match=r"unet: holds none of diffusion_pytorch_model\.safetensors, .*; download"):
        published_state(copied, network)
    shutil.copy(vae / "diffusion_pytorch_model.safetensors", unet)
    with pytest.raises(UserError, match="belong to another network than .*tensors missing"):
        published_state(copied, network)
    (unet / "diffusion_pytorch_model.safetensors").write_bytes((copied / "kept").read_bytes()[:-100])
    with pytest.raises(UserError, match="cannot be read as weights"):
        read_unet(unet)
    (unet / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({"conv_in.weight": Hostile()}, unet / "diffusion_pytorch_model.bin")
    with pytest.raises(UserError, match=r"\.bin: not a file of plain tensors \(it would run code"):
        read_unet(unet)
    torch.save({"embeddings.position_embedding.weight": Hostile()}, copied / "text_encoder" / "pytorch_model.bin")
    (copied / "text_encoder" / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"pytorch_model\.bin: not a file of plain tensors"):
        read_text_encoder(copied / "text_encoder")
    assert "ran" not in capsys.readouterr().out
    shutil.rmtree(copied / "tokenizer")
    with pytest.raises(
        UserError, match=r"tokenizer: lacks the files of a tokenizer, which are tokenizer\.json; .*; download"
    ):
        PublishedTokenizer(copied / "tokenizer")(["effusion"])


@pytest.mark.parametrize(
    "file, settings, said",
    [
        ("unet", {"class_embed_type": "timestep"}, "class_embed_type = 'timestep' is not Stable Diffusion 1 or 2"),
        ("unet", {"block_out_channels": [32, 64]}, "has a setting of another network"),
        ("unet", {"attention_head_dim": [4, 8, 8]}, "attention_head_dim means 4 heads .* set num_head_channels"),
        ("unet", {"cross_attention_dim": [48, 48]}, "has a setting of another network"),
        ("scheduler", {"prediction_type": "v_prediction"}, "predicts v, and the network epsilon; set prediction"),
        ("scheduler", {"beta_end": 0.02}, "betas are others"),
        ("scheduler", {"beta_schedule": "squaredcos_cap_v2"}, "must be linear or scaled_linear"),
        ("scheduler", {"trained_betas": [0.1]}, "has betas of its own"),
    ],
)
def test_settings_of_another_model_are_told(copied, file, settings, said):
    network = small_network(copied)
    name = "scheduler_config.json" if file == "scheduler" else "config.json"
    edit(copied / file / name, **settings)
    with pytest.raises(UserError, match=rf"{file}.{name}: .*{said}"):
        published_state(copied, network)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_of_another_shape_or_name_are_told(copied, part):
    from safetensors.torch import load_file, save_file

    read = {"unet": read_unet, "vae": read_autoencoder, "text_encoder": read_text_encoder}[part]
    path = next((copied / part).glob("*.safetensors"))
    state = load_file(path)
    name = sorted(state)[0]
    save_file({**state, "surplus.weight": torch.zeros(1)}, path)
    with pytest.raises(UserError, match=rf"{part}: these weights belong to another network .*1 unknown \(surplus"):
        read(copied / part)
    save_file({**state, name: torch.zeros(3, 5, 7)}, path)
    with pytest.raises(UserError, match=r"1 of another shape \(.* is \(3, 5, 7\) instead of"):
        read(copied / part)
    (copied / part / "config.json").write_text("[")
    with pytest.raises(UserError, match=rf"{part}.config\.json: holds no JSON object"):
        read(copied / part)


def test_other_kinds_of_text_encoders_are_refused(copied):
    edit(copied / "text_encoder" / "config.json", model_type="gpt2")
    with pytest.raises(UserError, match="model_type is 'gpt2'; .* no code of a folder is run"):
        read_text_encoder(copied / "text_encoder")
    edit(copied / "text_encoder" / "config.json", model_type="clip_text_model", num_attention_heads=5)
    with pytest.raises(UserError, match="no network can be built from it"):
        read_text_encoder(copied / "text_encoder")


@pytest.mark.parametrize(
    "absent, network", [("diffusers", PublishedAutoencoder), ("transformers", PublishedTextEncoder)]
)
def test_without_the_packages_one_sentence_says_what_to_install(monkeypatch, absent, network):
    import sys

    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(UserError, match=rf"need the package {absent} .*pip install 'synthzoo\[text\]'"):
        network()


def test_at_full_size_every_name_and_shape_is_stable_diffusions():
    """By names and shapes only; the numbers of parameters are those of the published model."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = stable_diffusion_unet()
        theirs = UNet2DConditionModel(
            sample_size=64,
            attention_head_dim=(5, 10, 20, 20),
            cross_attention_dim=1024,
            use_linear_projection=True,
        )
        autoencoder, text = PublishedAutoencoder(), PublishedTextEncoder()
    given = theirs.state_dict()
    state = core_unet(given)
    assert len(state) == len(given)
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        name: tuple(value.shape) for name, value in unet.state_dict().items()
    }
    numbers = [sum(p.numel() for p in part.parameters()) for part in (unet, autoencoder, text)]
    assert numbers == [865_910_724, 83_653_863, 340_387_840]
    layers = [part for name, part in unet.named_modules() if name.endswith(".attn2")]
    assert len(layers) == 16 and [layer.num_heads for layer in layers][:4] == [5, 5, 10, 10]
    assert {part.norm.eps for part in unet.modules() if type(part).__name__ == "SpatialTransformer"} == {1e-6}
    with torch.device("meta"):
        old = UNet2DConditionModel(sample_size=64, attention_head_dim=8, cross_attention_dim=768)
        first = stable_diffusion_unet(**unet_settings(old.config))
    assert sum(p.numel() for p in first.parameters()) == 859_520_964
    assert {n: tuple(v.shape) for n, v in core_unet(old.state_dict()).items()} == {
        n: tuple(v.shape) for n, v in first.state_dict().items()
    }


def old_monai(state):
    """Names of MONAI core as MONAI Generative had them."""
    found = {}
    for name, value in state.items():
        name = name.replace(".postconv.conv.", ".conv.conv.")
        found[name.replace(".out_proj.", ".to_out.0.")] = value
    return found


def test_monais_public_chest_model_is_read_in_its_old_names(tmp_path, monkeypatch):
    from monai.networks.nets import AutoencoderKL, DiffusionModelUNet

    with torch.device("meta"):
        full = AutoencoderKL(**MONAI_AUTOENCODER), DiffusionModelUNet(**MONAI_UNET)
    for network in full:
        state = network.state_dict()
        assert set(core_names(old_monai(state))) == set(state) != set(old_monai(state))
    small = {"channels": (8, 16, 16, 16), "norm_num_groups": 8}
    monkeypatch.setattr(published_weights, "MONAI_AUTOENCODER", {**MONAI_AUTOENCODER, **small})
    small = {
        "channels": (16, 32, 32),
        "num_head_channels": (0, 16, 16),
        "norm_num_groups": 16,
        "cross_attention_dim": 12,
    }
    monkeypatch.setattr(published_weights, "MONAI_UNET", {**MONAI_UNET, **small})
    torch.manual_seed(0)
    autoencoder = AutoencoderKL(**published_weights.MONAI_AUTOENCODER).eval()
    unet = DiffusionModelUNet(**published_weights.MONAI_UNET).eval()
    folder = tmp_path / "models"
    folder.mkdir()
    with pytest.raises(UserError, match=r"models.autoencoder\.pth: this file does not exist; download"):
        read_monai_chest(tmp_path)
    torch.save(old_monai(autoencoder.state_dict()), folder / "diffusion_model.pth")
    torch.save(old_monai(unet.state_dict()), folder / "autoencoder.pth")
    with pytest.raises(UserError, match=r"has no tensors decoder\.\*, .* exchanged\?"):
        read_monai_chest(tmp_path)
    torch.save(old_monai(autoencoder.state_dict()), folder / "autoencoder.pth")
    torch.save(unet.state_dict(), folder / "diffusion_model.pth")
    ours, denoiser, schedule = read_monai_chest(tmp_path)
    x, context = torch.rand(1, 1, 32, 32), torch.randn(1, 5, 12)
    with torch.no_grad():
        assert torch.equal(ours.encode(x)[0], autoencoder.encode(x)[0])
        z = torch.randn(1, 3, 8, 8)
        assert torch.equal(denoiser(z, torch.tensor([9]), context=context), unet(z, torch.tensor([9]), context=context))
    assert (schedule.prediction, schedule.num_steps) == ("v", 1000)
    betas = np.linspace(0.0015**0.5, 0.0205**0.5, 1000) ** 2
    assert np.allclose(schedule.alpha.numpy() ** 2, np.cumprod(1 - betas))
