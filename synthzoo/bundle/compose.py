"""Config files of a bundle put together as the command line does: inference.json, overlays on it, overrides last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow

from synthzoo.bundle.keys import as_config, spelled
from synthzoo.errors import UserError


def config_files(bundle: str | Path, overlays: str | Sequence[str] = (), base: str = "inference") -> list[str]:
    """Paths of inference.json and then of each overlay; an overlay is a stem such as "train" or a path of one's own.

    `base` is the stem of another config that is complete alone, such as that of a task of the bundle.
    """
    bundle = Path(bundle)
    files = [bundle / "configs" / f"{base}.json"]
    for overlay in [overlays] if isinstance(overlays, str) else overlays:
        own = bundle / "configs" / f"{overlay}.json"
        path = own if own.is_file() or not Path(overlay).is_file() else Path(overlay)
        if path not in files:
            files.append(path)
    for path in files:
        if not path.is_file():
            stems = ", ".join(sorted(file.stem for file in (bundle / "configs").glob("*.json")))
            raise UserError(f"{path}: this config does not exist; configs of {bundle.name}: {stems}.")
    return [str(path) for path in files]


def load_config(
    bundle: str | Path,
    overlays: str | Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    base: str = "inference",
) -> ConfigParser:
    """A `ConfigParser` over inference.json, overlays and overrides, with `bundle_root` set so that any folder will do.

    Args:
        bundle: folder of the bundle.
        overlays: stems in order, for example ("train",) or ("train", "multi_gpu_train").
        overrides: values by id (`"num_samples": 2`, `"train#trainer#max_epochs": 1`); an id that does not exist yet is
            added, as on MONAI's command line. Paths are text, `#` and `%` included, see `as_config`.
        base: see `config_files`.
    """
    parser = ConfigParser()
    parser.read_config(config_files(bundle, overlays, base))
    parser.read_meta(str(Path(bundle) / "configs" / "metadata.json"))
    parser["bundle_root"] = spelled(str(bundle))
    for key, value in (overrides or {}).items():
        parser.set(as_config(key, value), key)
    return parser


def load_workflow(
    bundle: str | Path,
    overlays: str | Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    workflow_type: str | None = None,
    run_id: str = "run",
) -> ConfigWorkflow:
    """The `ConfigWorkflow` that `python -m monai.bundle run` would build; call initialize, check_properties, run."""
    files = config_files(bundle, overlays)
    if workflow_type is None:
        workflow_type = "train" if any("train" in Path(file).stem for file in files) else "inference"
    logging_file = Path(bundle) / "configs" / "logging.conf"
    return ConfigWorkflow(
        workflow_type=workflow_type,
        config_file=files,
        meta_file=str(Path(bundle) / "configs" / "metadata.json"),
        logging_file=str(logging_file) if logging_file.is_file() else False,
        run_id=run_id,
        bundle_root=spelled(str(bundle)),
        **{key: as_config(key, value) for key, value in (overrides or {}).items()},
    )


def run_bundle(
    bundle: str | Path,
    overlays: str | Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    run_id: str = "run",
) -> Any:
    """Run a bundle in this process, as the command line would: initialize, run, finalize; returns what `run` gave."""
    workflow = load_workflow(bundle, overlays, overrides, run_id=run_id)
    workflow.initialize()
    result = workflow.run()
    workflow.finalize()
    return result
