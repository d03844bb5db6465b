"""Small networks of monai-generative 0.2.3: settings, names and shapes of their tensors, and what they compute.

`generative_networks.json` holds, for each case, the names and shapes of that package's network, and numbers of its
output for the tensors and inputs that the functions here make. `record` writes it; it needs the package.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn

FILE = Path(__file__).with_suffix(".json")
AUTOENCODER = {
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 1,
    "num_channels": [8, 16],
    "latent_channels": 2,
    "num_res_blocks": 1,
    "norm_num_groups": 4,
    "attention_levels": [False, True],
}
UNET = {
    "spatial_dims": 2,
    "in_channels": 2,
    "out_channels": 2,
    "num_channels": [8, 16],
    "num_res_blocks": 1,
    "attention_levels": [False, True],
    "norm_num_groups": 4,
    "num_head_channels": 8,
}
CONTEXT = {"with_conditioning": True, "cross_attention_dim": 5}
SPADE = {"label_nc": 3, "spade_intermediate_channels": 8}
CONTROL = {k: v for k, v in UNET.items() if k != "out_channels"} | {
    "conditioning_embedding_in_channels": 1,
    "conditioning_embedding_num_channels": [8, 16],
}
TRANSFORMER = {"num_tokens": 9, "max_seq_len": 8, "attn_layers_dim": 8, "attn_layers_depth": 2, "attn_layers_heads": 2}
CASES: dict[str, tuple[str, dict]] = {
    "autoencoder with attention": ("AutoencoderKL", AUTOENCODER),
    "autoencoder 3D without": (
        "AutoencoderKL",
        AUTOENCODER
        | {"spatial_dims": 3, "attention_levels": [False, False]}
        | {"with_encoder_nonlocal_attn": False, "with_decoder_nonlocal_attn": False},
    ),
    "codebook": (
        "VQVAE",
        {
            "spatial_dims": 2,
            "in_channels": 1,
            "out_channels": 1,
            "num_channels": [8, 8],
            "num_res_layers": 1,
            "num_res_channels": [8, 8],
            "num_embeddings": 8,
            "embedding_dim": 4,
            "downsample_parameters": [[2, 4, 1, 1]] * 2,
            "upsample_parameters": [[2, 4, 1, 1, 0]] * 2,
        },
    ),
    "U-Net": ("DiffusionModelUNet", UNET),
    "U-Net of classes": ("DiffusionModelUNet", UNET | {"resblock_updown": True, "num_class_embeds": 3}),
    "U-Net with context": ("DiffusionModelUNet", UNET | CONTEXT),
    "U-Net 3D with context": (
        "DiffusionModelUNet",
        UNET | CONTEXT | {"spatial_dims": 3, "resblock_updown": True, "upcast_attention": True},
    ),
    "ControlNet": ("ControlNet", CONTROL),
    "ControlNet with context": ("ControlNet", CONTROL | CONTEXT),
    "transformer": ("DecoderOnlyTransformer", TRANSFORMER),
    "transformer with context": ("DecoderOnlyTransformer", TRANSFORMER | {"with_cross_attention": True}),
    "SPADE autoencoder": ("SPADEAutoencoderKL", AUTOENCODER | SPADE),
    "SPADE U-Net": ("SPADEDiffusionModelUNet", UNET | SPADE),
    "SPADE U-Net with context": ("SPADEDiffusionModelUNet", UNET | SPADE | CONTEXT | {"resblock_updown": True}),
    "SPADE generator": (
        "SPADENet",
        {
            "spatial_dims": 2,
            "in_channels": 1,
            "out_channels": 1,
            "label_nc": 3,
            "input_shape": [16, 16],
            "num_channels": [8, 16],
            "z_dim": 4,
            "is_vae": True,
        },
    ),
    "discriminator": (
        "PatchDiscriminator",
        {"spatial_dims": 2, "num_channels": 8, "in_channels": 1, "out_channels": 1, "num_layers_d": 2},
    ),
}


def tensors(shapes: dict[str, list[int]], seed: int = 0) -> dict[str, torch.Tensor]:
    """A state dict with these names and shapes, the same every time."""
    generator, state = torch.Generator().manual_seed(seed), {}
    for name, shape in shapes.items():
        value = 0.3 * torch.randn(shape, generator=generator)
        if name.endswith("causal_mask"):
            value = torch.tril(torch.ones(shape))
        elif name.endswith("num_batches_tracked"):
            value = torch.zeros(shape, dtype=torch.int64)
        state[name] = value.abs() + 0.5 if name.endswith("running_var") else value
    return state


@torch.no_grad()
def computed(kind: str, network: nn.Module, settings: dict) -> torch.Tensor:
    """What a network, old or new, gives for inputs that are the same every time, in one row."""
    network.eval()
    generator = torch.Generator().manual_seed(1)
    dims = settings.get("spatial_dims", 2)
    x = torch.randn(2, settings.get("in_channels", 1), *([8] * dims if dims == 3 else [16, 16]), generator=generator)
    context = torch.randn(2, 3, 5, generator=generator) if settings.get("with_conditioning") else None
    labels = nn.functional.one_hot(torch.randint(0, 3, (2, 16, 16), generator=generator)).movedim(-1, 1).float()
    t = torch.tensor([7, 400])
    if kind in ("AutoencoderKL", "SPADEAutoencoderKL"):
        mean, deviation = network.encode(x)
        made = [mean, deviation, network.decode(mean, labels) if "SPADE" in kind else network.decode(mean)]
    elif kind == "VQVAE":
        made = [network(x)[0]]
    elif kind == "ControlNet":
        shown = torch.rand(2, 1, *(2 * n for n in x.shape[2:]), generator=generator)
        down, middle = network(x, t, shown, context=context)
        made = [*down, middle]
    elif kind == "DecoderOnlyTransformer":
        tokens = torch.randint(0, 9, (2, 8), generator=generator)
        seen = torch.randn(2, 3, 8, generator=generator) if settings.get("with_cross_attention") else None
        made = [network(tokens, context=seen)]
    elif kind == "SPADENet":
        made = [network.decode(labels, torch.randn(2, 4, generator=generator))]
    elif kind == "PatchDiscriminator":
        made = network(x)
    else:
        more = {"class_labels": torch.tensor([0, 2])} if settings.get("num_class_embeds") else {}
        made = [network(x, t, *([labels] if "SPADE" in kind else []), context=context, **more)]
    return torch.cat([value.flatten() for value in made])


def record() -> None:
    """Write the file from the installed package."""
    from synthzoo.evaluation.baselines import import_generative

    rows = {}
    for name, (kind, settings) in CASES.items():
        network = getattr(import_generative()[0], kind)(**json.loads(json.dumps(settings)))
        shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
        network.load_state_dict(tensors(shapes))
        output = computed(kind, network, settings)
        rows[name] = {
            "tensors": shapes,
            "numbers": len(output),
            "output": output[:: max(len(output) // 12, 1)].tolist(),
        }
    lines = [f"{json.dumps(name)}: {json.dumps(row)}" for name, row in rows.items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def recorded() -> dict[str, dict]:
    """What `record` wrote, by the name of the case."""
    return json.loads(FILE.read_text(encoding="utf-8"))
