"""What a stock generative bundle of MONAI's model zoo consists of, read from its configs as data.

    GAN              a Generator, noise in `dataset`, weights of a CheckpointLoader           (mednist_gan)
    diffusion        a U-Net, noise of an image's shape                                       (mednist_ddpm)
    latents          an AutoencoderKL and a U-Net, noise of a latent's shape                  (brats_mri_*_diffusion)
    with conditions  the same, and numbers in `conditioning`         (brain_image_synthesis_latent_diffusion_model)

Nothing of the bundle is evaluated, imported or unpickled: of its `$` expressions the shapes of `torch.randn` and the
places of weights are read as text, and its scripts are not opened. What this cannot tell is refused in a sentence.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from synthzoo.bundle.literals import LiteralConfig, network_settings, read_mapping
from synthzoo.errors import UserError, first_line

CONFIGS = (("inference",), ("common", "infer"))  # stems that lie on each other
ENDINGS = ("json", "yaml", "yml")
ROLES = {"AutoencoderKL": "autoencoder", "DiffusionModelUNet": "denoiser", "Generator": "generator"}
SCHEDULERS = ("DDIMScheduler", "DDPMScheduler", "PNDMScheduler")
KINDS = {"linear_beta": "linear", "scaled_linear_beta": "scaled_linear"}
PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v"}
LOADED = re.compile(r"@(\w+)\.load_(?:old_)?state_dict\(\s*torch\.load\(\s*@(\w+)")
WEIGHTS = re.compile(r"([\w.-]+\.(?:pt|pth|ckpt|safetensors))['\"]?\s*\)?$")
NOISE = re.compile(r"torch\.(randn?)\(")
CONDITIONS = re.compile(r"torch\.tensor\(\[\[\s*((?:@\w+\s*,?\s*)+)\]\]")
STEPS = re.compile(r"set_timesteps\(\s*num_inference_steps\s*=\s*(\d+)")


@dataclass
class Part:
    """A network of the bundle: its class and settings, and the file of its weights."""

    network: type[nn.Module]
    settings: dict[str, Any]
    weights: Path


@dataclass
class Stock:
    """A stock bundle, as far as this library runs it."""

    folder: Path
    metadata: dict[str, Any]
    parts: dict[str, Part]
    noise_shape: list[int]
    uniform: bool = False
    sigmoid: bool = False
    conditions: dict[str, float] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    sampler: dict[str, Any] = field(default_factory=dict)


def read_stock(folder: str | Path, weights: Mapping[str, str] | None = None) -> Stock:
    """Read a stock bundle.

    Args:
        folder: of the bundle.
        weights: "autoencoder", "denoiser" or "generator" -> file that is taken in place of what the config says.

    Raises:
        UserError: no bundle, or one that needs code of its own.
    """
    folder = Path(folder)
    config = stock_config(folder)
    metadata = read_mapping(folder / "configs" / "metadata.json")
    keys = network_keys(config)
    files = {role: Path(file) for role, file in (weights or {}).items() if file}
    parts = {
        role: Part(*network_settings(config, key), files.get(role) or weights_of(config, key, folder, role))
        for role, key in keys.items()
    }
    noise_shape, uniform = noise_of(config, batched="generator" not in parts)
    stock = Stock(folder, metadata, parts, noise_shape, uniform)
    if "generator" in parts:
        stock.sigmoid = any(node.get("sigmoid") is True for node in nodes(config, "Activationsd"))
        return stock
    stock.schedule, stock.sampler = schedule_of(config)
    stock.conditions = conditions_of(config, parts["denoiser"].settings, keys["denoiser"])
    expect_channels(config, stock, keys["denoiser"])
    return stock


@contextmanager
def understood(folder: Path) -> Iterator[None]:
    """Say in one sentence that configs from elsewhere hold a value of another kind than expected, whichever it is."""
    try:
        yield
    except UserError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, RuntimeError, OverflowError) as error:
        said = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(f"{folder}: its configs are not understood ({said}); not adopted.") from error


def stock_config(folder: Path) -> LiteralConfig:
    """The config that generates.

    Raises:
        UserError: there is none.
    """
    if (folder / "configs" / "inference.json").is_file() and "synthzoo" in read_mapping(
        folder / "configs" / "metadata.json"
    ):
        raise UserError(f"{folder}: is a bundle of this library already; run it as its card says.")
    for stems in CONFIGS:
        found = [folder / "configs" / f"{stem}.{ending}" for stem in stems for ending in ENDINGS]
        found = [path for path in found if path.is_file()]
        if len(found) >= len(stems):
            return LiteralConfig(*found[: len(stems)])
    raise UserError(f"{folder}: has no configs/inference.json, so it is no generative bundle; give a bundle's folder.")


def network_keys(config: LiteralConfig) -> dict[str, str]:
    """Role -> key of each network that the config defines.

    Raises:
        UserError: none, several of one role, or one that this library cannot put in its place.
    """
    found: dict[str, str] = {}
    for key, node in config.content.items():
        target = str(node.get("_target_", "")) if isinstance(node, Mapping) else ""
        kind = target.rpartition(".")[2]
        if kind in ROLES and ROLES[kind] not in found:
            found[ROLES[kind]] = key
        elif key.endswith("_def") or kind in ROLES:
            raise UserError(
                f"{config.path}: {key} is {target or 'no network'}, which only this bundle's own code can put "
                "together; bundles of one Generator, one U-Net, or one AutoencoderKL and one U-Net are adopted."
            )
    if "generator" in found and len(found) > 1 or not {"generator", "denoiser"} & set(found):
        raise UserError(f"{config.path}: defines {', '.join(found) or 'no network'}, which generates nothing alone.")
    return found


def strings(value: Any) -> Iterator[str]:
    """Every text below a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (Mapping, list)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from strings(item)


def nodes(config: LiteralConfig, kind: str, value: Any = None) -> Iterator[dict]:
    """Every component of a class of this name."""
    value = config.content if value is None else value
    if isinstance(value, Mapping):
        if str(value.get("_target_", "")).rpartition(".")[2] == kind:
            yield dict(value)
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        if isinstance(item, (Mapping, list)):
            yield from nodes(config, kind, item)


def weights_of(config: LiteralConfig, key: str, folder: Path, role: str) -> Path:
    """The file from which a network is loaded, in the bundle's `models`.

    Raises:
        UserError: the config does not tell, or the file is not there.
    """
    names = {key, *(name for name, value in config.content.items() if str(value).startswith(f"$@{key}.to("))}
    places = {place for text in strings(config.content) for name, place in LOADED.findall(text) if name in names}
    for node in nodes(config, "CheckpointLoader"):
        if any(str(value).removeprefix("@") in names for value in dict(node.get("load_dict", {})).values()):
            places.add(str(node.get("load_path", "")).removeprefix("@"))
    files = {match[1] for place in places if (match := WEIGHTS.search(str(config.content.get(place, ""))))}
    if len(files) != 1:
        raise UserError(f"{config.path}: does not tell where the weights of {key} are; give --{role} FILE.")
    path = folder / "models" / files.pop()
    if not path.is_file():
        raise UserError(
            f"{path}: these weights are not there; python -m monai.bundle download_large_files --bundle_path {folder} "
            f"brings what the bundle lists, or give --{role} FILE."
        )
    return path


def noise_of(config: LiteralConfig, batched: bool) -> tuple[list[int], bool]:
    """Shape of the start noise of one image, and whether it is uniform.

    Raises:
        UserError: the config does not tell.
    """
    texts = [config.content.get("noise"), config.content.get("dataset")]
    for text in (text for value in texts for text in strings(value)):
        if not (match := NOISE.search(text)):
            continue
        call = re.sub(r"@([\w#]+)", lambda found: repr(config.value(found[1])), _first_call(text[match.end() - 1 :]))
        shape = _shape(f"f{call}")
        if shape is not None and all(0 < number < 10**5 for number in shape) and len(shape) > batched:
            return shape[batched:], match[1] == "rand" and not batched
    raise UserError(f"{config.path}: does not tell the shape of its noise as torch.randn([1, ...]); write it so.")


def _first_call(text: str) -> str:
    """The beginning of a text up to the parenthesis that closes its first one."""
    depth = 0
    for place, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if not depth:
            return text[: place + 1]
    return text


def _shape(call: str) -> list[int] | None:
    """The numbers of `f(1, 2)`, `f((1, 2))` or `f([1] + [2])`; None for anything else. Nothing is evaluated."""

    def numbers(node: ast.AST) -> list[int] | None:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return [node.value]
        if isinstance(node, (ast.Tuple, ast.List)):
            parts = [numbers(item) if isinstance(item, ast.Constant) else None for item in node.elts]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            sides = (node.left, node.right)
            parts = [numbers(side) if isinstance(side, (ast.Tuple, ast.List)) else None for side in sides]
        else:
            return None
        return None if None in parts else [number for part in parts if part for number in part]

    try:
        tree = ast.parse(call, mode="eval").body
    except (SyntaxError, ValueError, RecursionError):
        return None
    found = [numbers(node) for node in tree.args] if isinstance(tree, ast.Call) else [None]
    return None if not found or None in found else [number for part in found if part for number in part]


def schedule_of(config: LiteralConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of `NoiseSchedule`, and those of `SynthesisInferer` that its sampler stands for.

    Raises:
        UserError: no scheduler, or one that `NoiseSchedule` does not have.
    """
    found = [(kind, node) for kind in SCHEDULERS for node in nodes(config, kind)]
    if len(found) != 1:
        raise UserError(f"{config.path}: has {len(found)} schedulers of {', '.join(SCHEDULERS)}, one is needed.")
    kind, node = found[0]
    settings = {name: config.plain(value, f"scheduler#{name}") for name, value in node.items() if name[0] != "_"}
    total = int(settings.get("num_train_timesteps", 1000))
    form, aim = settings.get("schedule", "linear_beta"), settings.get("prediction_type", "epsilon")
    if form not in KINDS or aim not in PREDICTIONS:
        raise UserError(
            f"{config.path}: its {kind} has schedule {form} and prediction_type {aim}; adopted are "
            f"{' or '.join(KINDS)} and {' or '.join(PREDICTIONS)}."
        )
    said = [int(number) for text in strings(config.content) for number in STEPS.findall(text)]
    whole = kind == "DDPMScheduler"  # which is right at its full number of steps alone
    steps = total if whole else (said or [50])[0]
    clip = 1.0 if settings.get("clip_sample", True) else None
    schedule = {"num_steps": total, "kind": KINDS[form], "prediction": PREDICTIONS[aim]}
    schedule |= {name: float(settings.get(name, start)) for name, start in (("beta_start", 1e-4), ("beta_end", 2e-2))}
    return schedule, {"steps": min(steps, total), "eta": 1.0 if whole else 0.0, "clip": clip}


def conditions_of(config: LiteralConfig, unet: Mapping[str, Any], key: str) -> dict[str, float]:
    """Name -> the value that the config gives it, in the order in which the U-Net reads them.

    Raises:
        UserError: the U-Net waits for a context that is no list of numbers, or for a class.
    """
    if unet.get("num_class_embeds"):
        raise UserError(f"{config.path}: {key} waits for a class label, which its config does not name; not adopted.")
    if not unet.get("with_conditioning"):
        return {}
    for text in strings(config.content):
        if match := CONDITIONS.search(text):
            names = re.findall(r"@(\w+)", match[1])
            values = [config.value(name) for name in names]
            if len(names) == unet.get("cross_attention_dim") and all(type(v) in (int, float) for v in values):
                return dict(zip(names, map(float, values)))
    raise UserError(
        f"{config.path}: {key} waits for a context that is no list of {unet.get('cross_attention_dim')} numbers, such "
        "as what a text encoder gives; not adopted."
    )


def expect_channels(config: LiteralConfig, stock: Stock, key: str) -> None:
    """Raise one sentence where noise, conditions and U-Net do not fit each other."""
    taken, given = stock.parts["denoiser"].settings.get("in_channels"), stock.noise_shape[0]
    if taken not in (given, given + len(stock.conditions)):
        raise UserError(
            f"{config.path}: {key}#in_channels is {taken}, but its noise has {given} channels and it has "
            f"{len(stock.conditions)} conditions; not adopted."
        )
    if len(stock.noise_shape) != 1 + int(stock.parts["denoiser"].settings.get("spatial_dims", 0)):
        raise UserError(f"{config.path}: noise of shape {stock.noise_shape} does not fit {key}#spatial_dims.")
