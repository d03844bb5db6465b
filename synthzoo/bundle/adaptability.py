"""The page of adaptability: generators of every modality in one table, and what their configs differ in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from synthzoo.bundle.cards import table
from synthzoo.bundle.find import read_json
from synthzoo.bundle.order import walk
from synthzoo.io.files import sha256

# Set of a row -> what the table of controls calls it.
CONTROLS = {
    "real": "real",
    "closed_form": "closed form alone",
    "blurred": "real, blurred",
    "noisy": "real, noisy",
    "mixed": "real, mixed",
    "repeated": "real, few repeated",
}
NOT_THERE, NOT_MEASURED = "its bundle is not there yet", "not measured yet"
OUTDATED = ", by other weights than the bundle's present ones"
# Part of a latent diffusion model -> ends of the targets that are it, and the settings that are listed.
PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "autoencoder": (
        ("AutoencoderKL", "radiograph_autoencoder"),
        ("spatial_dims", "channels", "latent_channels", "num_res_blocks", "attention_levels", "edge", "patch", "kl"),
    ),
    "denoiser": (
        ("UNet",),
        (
            *("spatial_dims", "in_channels", "out_channels", "channels", "num_res_blocks", "attention_levels"),
            *("num_head_channels", "norm_num_groups", "with_conditioning", "cross_attention_dim", "time_attention"),
        ),
    ),
    "schedule": (("NoiseSchedule",), ("num_steps", "kind", "beta_start", "beta_end", "prediction")),
}
SAMPLING = ("latent_shape", "sampler", "steps", "guidance")


def adaptability_text(report: Mapping[str, Any], bundles: Mapping[str, Path]) -> str:
    """The tables of a report, with a line for each row that is not measured.

    Args:
        report: of `synthzoo.evaluation.adaptability`.
        bundles: name -> folder, of those that are there.
    """
    rows, controls, settings = [], [], report["settings"]
    for row in report["rows"].values():
        measured, name = row["measured"], f"`{row['bundle']}`"
        if measured is None:
            why = NOT_MEASURED if row["bundle"] in bundles else NOT_THERE
            rows.append([row["title"], name, row["method"], why, *[None] * 8])
            continue
        sets = measured["sets"]
        made, real = sets["generated"], sets["real"]
        size = f"{measured['samples']} of {' x '.join(map(str, measured['shape']))}"
        weights = bundles.get(row["bundle"], Path()) / "models" / "model.pt"
        if not weights.is_file() or sha256(weights) != measured["settings"]["weights_sha256"]:
            size += OUTDATED
        times = made["fid"] / real["fid"] if real["fid"] else None
        pairs = (made["ms_ssim"], made["ms_ssim_std"], real["ms_ssim"], real["ms_ssim_std"])
        fids = (measured["images"], made["fid"], real["fid"], times)
        rows.append([row["title"], name, row["method"], size, *fids, *pairs])
        values = [sets.get(key, {}).get(figure) for figure in ("fid", "ms_ssim") for key in CONTROLS]
        controls.append([row["title"], row["method"], made["fid"], *values[:6], made["ms_ssim"], *values[6:]])
    columns = ["data", "bundle", "method", "samples", "images", "FID", "FID, real against real", "times that"]
    columns += ["MS-SSIM of pairs", "its SD", "MS-SSIM of real pairs", "its SD"]
    parts = [f"FID on {settings['feature_network']}.", table(columns, rows)]
    if controls:
        names = list(CONTROLS.values())
        columns = ["data", "method", "FID generated", *(f"FID {name}" for name in names)]
        columns += ["MS-SSIM generated", *(f"MS-SSIM {name}" for name in names)]
        title = f"**Controls: real images blurred by {settings['blur_pixels']:g} pixels, with noise of "
        title += f"{settings['noise']:g}, mixed linearly, and one in {settings['repeated']} of them repeated**"
        parts += [title, table(columns, controls)]
    looks = [[row["title"], row["requested"], row["features_of"], row["ms_ssim_of"]] for row in report["rows"].values()]
    parts += [
        "**What is requested and compared**",
        table(["data", "requested", "features see", "MS-SSIM of"], looks),
    ]
    return "\n\n".join(parts)


def configs_text(report: Mapping[str, Any], bundles: Mapping[str, Path]) -> str:
    """What the configs of the rows by latent diffusion have alike, and what they differ in.

    Args:
        report: see `adaptability_text`.
        bundles: name -> folder, of those that are there.
    """
    names = [row["bundle"] for row in report["rows"].values() if row["method"] == "LDM" and row["bundle"] in bundles]
    found = {name: ldm_settings(read_json(bundles[name] / "configs" / "inference.json")) for name in names}
    keys = list(dict.fromkeys(key for one in found.values() for key in one))
    keys.sort(key=lambda key: [*PARTS, "second denoiser", "sampling"].index(key.split(": ")[0]))
    alike = [key for key in keys if len({found[name].get(key) for name in names}) == 1]
    lines = [f"Of {len(keys)} settings {len(alike)} are the same in all {len(names)} configs:"]
    rows = [[key, found[names[0]][key]] for key in alike]
    lines += [table(["setting", "in all"], rows)] if alike else []
    lines.append(f"The other {len(keys) - len(alike)} differ (-: there is no such setting in the config):")
    differing = [[key, *(found[name].get(key) for name in names)] for key in keys if key not in alike]
    return "\n\n".join([*lines, table(["setting", *(f"`{name}`" for name in names)], differing)])


def ldm_settings(config: Mapping[str, Any]) -> dict[str, str]:
    """The listed settings of a latent diffusion model's inference.json, "part: key" -> value as text."""
    plain = [key for key in SAMPLING if key in config and not isinstance(config[key], dict)]
    found = {f"sampling: {key}": said(config[key]) for key in plain}
    for part, node in parts_of(config):
        found[f"{part}: class"] = node["_target_"].rpartition(".")[2]
        keys = PARTS[part.removeprefix("second ")][1]
        found |= {f"{part}: {key}": said(node[key]) for key in keys if key in node}
        blocks = node.get("num_res_blocks")
        if isinstance(blocks, list) and len(set(blocks)) == 1:  # one number stands for all levels in other configs
            found[f"{part}: num_res_blocks"] = said(blocks[0])
    return found


def parts_of(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The parts of a config's network with their names, as `PARTS` knows them."""
    seen: set[str] = set()
    for _, node in walk(config.get("network_def", {})):
        target = str(node.get("_target_", "")) if isinstance(node, dict) else ""
        for part, (ends, keys) in PARTS.items():
            # What wraps a U-Net may be called one too; the U-Net itself says its channels.
            if target.endswith(ends) and (len(ends) > 1 or set(keys) & set(node)):
                name = part if part not in seen else f"second {part}"
                if name not in seen:
                    seen.add(name)
                    yield name, node


def said(value: Any) -> str:
    """A setting as text."""
    if isinstance(value, list):
        return ", ".join(map(said, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
