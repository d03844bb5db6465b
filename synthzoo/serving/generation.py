"""Data sets of any size from one synthesis bundle: a table of requests is sampled once, then shared out and filled.

The table is written first, to `<out>/code/requests.tsv`; it alone decides every image, so a run may be killed at any
moment, started again, and spread over other processes. The folder is a BIDS data set from then on.
"""

from __future__ import annotations

import datetime
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine, Events
from tqdm import tqdm

from synthzoo.bundle.compose import load_config, load_workflow
from synthzoo.bundle.find import read_json, read_metadata
from synthzoo.bundle.keys import check_key
from synthzoo.bundle.known import expect_known
from synthzoo.bundle.nulls import is_off
from synthzoo.bundle.order import walk
from synthzoo.cases.requests import read_table
from synthzoo.cases.table import process_rank
from synthzoo.cases.values import MAX_SEED, check_seed
from synthzoo.errors import UserError
from synthzoo.io.files import write_text
from synthzoo.io.kinds import stem
from synthzoo.results.dataset_files import BIDS_VERSION, unknown_to_bids
from synthzoo.results.nnunet import DATASET_ID
from synthzoo.serving.priors import SIZE_CLASSES, BalancedPrior, ConditionPrior

TABLE = "code/requests.tsv"
RESERVED = ("bundle_root", "output_dir", "requests", "num_samples", "seed")
# All other suffixes are anatomy. BIDS knows no ultrasound: videos lie beside it, where validators pass them over.
DATATYPES = {"bold": "func", "dwi": "dwi", "pet": "pet", "echo": "us"}
# A folder's pattern without a slash is for bids-validator-deno, which passes over none that has one.
NOT_BIDS = ("preview.png", "preview.gif", "croissant.json", "nnUNet_raw", "sub-*/us/", "sub-*/us")
LONGEST_WAIT_S = 600.0


def generate_dataset(
    bundle: str | Path,
    out: str | Path,
    num_samples: int | None = None,
    requests: str | Path | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    balance: str | None = None,
    size_classes: int = SIZE_CLASSES,
    dataset_id: int = DATASET_ID,
) -> Path:
    """Fill a BIDS folder with images of one bundle; under `torchrun` this process makes its share.

    Where the results hold images and label maps, `nnUNet_raw/` beside them has the layout of nnU-Net, see
    `synthzoo.results.nnunet`; `croissant.json` describes it all, see `synthzoo.results.croissant`.

    Args:
        bundle: folder of a bundle whose inference.json takes requests.
        out: folder of the data set. Given again, it is completed; with more `num_samples` it is extended.
        num_samples: number of images, at least 1; None with `requests`, where each row is one.
        requests: a table of one's own (see `synthzoo.cases.requests.read_table`); what it has no column for comes from
            `settings`.
        seed: decides the sampled conditions and, with the number of the subject, the start noise.
        settings: condition -> value, "low,high" (sampled uniformly for each subject) or, of an enum, a list of
            those that may come; and key of inference.json -> value, such as {"steps": 10, "batch_size": 8}.
        balance: names of conditions whose combinations come equally often, see `synthzoo.serving.priors.BalancedPrior`;
            None draws each condition for itself.
        size_classes: into how many classes of equal width the ranges of balanced numbers are cut.
        dataset_id: number of nnU-Net's data set, 1 to 999.

    Returns:
        the folder.

    Raises:
        UserError: an unknown condition or key, a value out of range, or a folder with other requests.
    """
    bundle, out = Path(bundle).resolve(), Path(out).resolve()
    try:
        priors = {"balance": balance, "size_classes": size_classes}
        overrides = _prepare(bundle, out, num_samples, requests, seed, dict(settings or {}), priors, dataset_id)
    except UserError:
        if process_rank()[0]:  # every process meets the same mistake; the first one says it
            raise SystemExit(1) from None
        raise
    workflow = load_workflow(bundle, overrides=overrides)
    workflow.initialize()
    evaluator = workflow.parser.get_parsed_content("evaluator")
    table = workflow.parser.get_parsed_content(_table_id(read_json(bundle / "configs" / "inference.json")))
    if len(table):
        Progress(len(table), table.skipped).attach(evaluator)
    workflow.run()
    workflow.finalize()
    return out


def _prepare(
    bundle: Path,
    out: Path,
    num_samples: int | None,
    requests: str | Path | None,
    seed: int,
    settings: dict[str, Any],
    balanced: dict[str, Any],
    dataset_id: int,
) -> dict[str, Any]:
    """Check everything, agree on the table with the other processes, and give the overrides of this run."""
    config, metadata = read_json(bundle / "configs" / "inference.json"), read_metadata(bundle)
    if "requests" not in config:
        raise UserError(f"bundle {bundle.name} takes images, not requests: give one of the synthesis bundles.")
    conditions = metadata.get("synthzoo", {}).get("conditions", {})
    requested = {name: settings.pop(name) for name in conditions if name in settings}
    known = [*conditions, *(key for key in config if key not in RESERVED and not key.startswith("_"))]
    for name, value in list(settings.items()):
        if name.replace("::", "#").split("#")[0] not in [*known, "batch_size"]:
            plain = dict.fromkeys(key for key in known if not isinstance(config.get(key), dict | list))
            raise UserError(f"--{name}: unknown condition or setting: the known ones are {', '.join(plain)}.")
        if name != "batch_size":
            expect_known(config, name, f"--{name} {value}")
            if is_off(config, name, value, metadata):
                settings[name] = None
        else:
            check_key(name, value, metadata, 1, "--")
    for name, value in {"num_samples": num_samples, "dataset_id": dataset_id, **balanced}.items():
        check_key(name, value, metadata, None, "--")
    text = request_table(conditions, requested, num_samples, requests, check_seed(seed, "seed"), **balanced)
    table = _table_id(config)
    suffix, saved = _suffixes(bundle, config, table, settings)
    folder = DATATYPES.get(stem(suffix).rsplit("_", 1)[-1], "anat")
    if process_rank()[0] == 0:
        keep_table(out / TABLE, text)
        _write_texts(out, metadata, bundle.name, unknown_to_bids([suffix, *saved], folder))
    else:
        _wait_for(out / TABLE, text)
    overrides = {
        **_batches(config, table, settings.pop("batch_size", None)),
        **settings,
        "output_dir": str(out),
        "requests": str(out / TABLE),
        f"{table}#folder": folder,
        **{f"{where}#dataset_id": dataset_id for where in _targets(config, "FinalizeDataset")},
    }
    if "progress" in (config.get("inferer") or {}):
        overrides["inferer#progress"] = False  # one line per process, not one per batch
    if process_rank()[1] > 1 and "device" not in settings:
        local = int(os.environ.get("LOCAL_RANK", 0))
        overrides["device"] = (
            f"$torch.device('cuda:{local}' if torch.cuda.device_count() > {local} else "
            "'cuda' if torch.cuda.is_available() else 'cpu')"
        )
    return overrides


def _table_id(config: dict) -> str:
    """Where in inference.json the table of requests is made, for example `dataset` or `dataset#data`."""
    for where, node in walk(config["dataset"], "dataset"):
        if isinstance(node, dict) and "conditions" in node:
            return where
    raise UserError("inference.json: dataset holds no table of requests; see synthzoo.cases.requests.RequestTable.")


def _suffixes(bundle: Path, config: dict, table: str, settings: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The suffix of a case's main file, and those of all files that it may have, with these settings."""
    node = config
    for key in table.split("#"):
        node = node[int(key) if isinstance(node, list) else key]
    savers = _targets(config, "SaveResult").items()
    stated = {f"{table}#suffix": node.get("suffix", "T1w.nii.gz")}
    stated |= {f"{where}#outputs": saver["outputs"] for where, saver in savers if saver.get("outputs")}
    if any(isinstance(value, str) and value[:1] in ("$", "@") for value in stated.values()):
        own = {name: value for name, value in settings.items() if name != "batch_size"}
        parser = load_config(bundle, overrides=own)
        stated = {where: parser.get_parsed_content(where) for where in stated}
    suffix, *found = stated.values()
    return suffix, [one for mapping in found for one in mapping.values()]


def _targets(config: dict, name: str) -> dict[str, dict]:
    """The components of inference.json whose class has this name, by their ids."""
    found = ((where, node) for key in config for where, node in walk(config[key], key) if isinstance(node, dict))
    return {where: node for where, node in found if str(node.get("_target_", "")).rsplit(".", 1)[-1] == name}


def _batches(config: dict, table: str, size: int | None) -> dict[str, Any]:
    """The overrides that set the batch size, and with it the blocks of rows that processes take."""
    if size is None:
        return {}
    if "batch_size" in config:
        return {"batch_size": size}
    return {"dataloader#batch_size": size, f"{table}#block": size}


# --- the table -------------------------------------------------------------------------------------------------------


def request_table(
    conditions: Mapping[str, dict],
    requested: Mapping[str, Any],
    num_samples: int | None,
    requests: str | Path | None,
    seed: int,
    balance: str | None = None,
    size_classes: int = SIZE_CLASSES,
) -> str:
    """The text of requests.tsv: a line per subject with its seed and every condition, `n/a` where unset.

    Subject n's values and seed depend on (seed, n) alone, so a longer table begins with the shorter one.

    Args:
        conditions: name -> property, as in `RequestTable`.
        requested: name -> value, "low,high" or list; see `generate_dataset`.
        num_samples: number of rows; None with `requests`, or 1.
        requests: path of the user's own table, or None.
        seed: of the whole data set.
        balance, size_classes: see `synthzoo.serving.priors.BalancedPrior`.

    Raises:
        UserError: see `generate_dataset`.
    """
    balanced = BalancedPrior(balance, requested, conditions, size_classes) if balance else None
    if requests and balanced:
        raise UserError("--balance draws requests and --requests states them: give one of the two.")
    priors = {name: ConditionPrior(name, value, conditions[name]) for name, value in requested.items()}
    if requests:
        rows = read_table(requests, conditions)
        if num_samples not in (None, len(rows)):
            raise UserError(f"--num_samples is {num_samples}, but {requests} has {len(rows)} rows: leave it out.")
    else:
        count = 1 if num_samples is None else num_samples
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise UserError(f"--num_samples is {count!r}, but must be an integer of at least 1.")
        rows = [{"requested": {}, "seed": None, "case": None}] * count
    lines, cases = ["\t".join(["participant_id", "seed", *conditions])], set()
    for subject, row in enumerate(rows, start=1):
        case = row["case"] or f"sub-{subject:04d}"
        if case in cases:
            raise UserError(f"{requests}: participant_id {case} stands twice; each row needs its own.")
        cases.add(case)
        values = {name: prior.sample(seed, subject) for name, prior in priors.items()} | row["requested"]
        values |= balanced.sample(seed, subject) if balanced else {}
        own_seed = subject_seed(seed, subject) if row["seed"] is None else row["seed"]
        lines.append("\t".join([case, str(own_seed), *(_cell(values.get(name)) for name in conditions)]))
    return "\n".join(lines) + "\n"


def subject_seed(seed: int, subject: int) -> int:
    """The seed of a subject's start noise, below 2^48: other data sets (seeds) and other subjects share none."""
    return int(np.random.SeedSequence([seed, subject]).generate_state(1, np.uint64)[0]) % min(MAX_SEED, 2**48)


def _cell(value: Any) -> str:
    if value is None:
        return "n/a"
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def keep_table(path: Path, text: str) -> None:
    """Write the table, unless it stands there already; a longer table may replace the one that it begins with.

    Raises:
        UserError: the folder was begun with another table, named by its first line that differs.
    """
    try:
        found = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        found = ""
        if next(path.parents[1].glob("sub-*"), None) is not None:
            raise UserError(
                f"{path.parents[1]} holds subjects, but no {TABLE}, so it is not clear what they are: choose another "
                "--out."
            ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}): choose another --out.") from None
    if found == text:
        return
    if not text.startswith(found):
        pairs = zip([*found.splitlines(), "nothing"], [*text.splitlines(), "nothing"])
        number, (old, new) = next((n, pair) for n, pair in enumerate(pairs, start=1) if pair[0] != pair[1])
        old, new = old.replace("\t", " "), new.replace("\t", " ")
        raise UserError(
            f"{path} holds other requests (line {number} is '{old}' there and '{new}' now): give the same arguments as "
            "before to go on, or choose another --out."
        )
    write_text(path, text)


def _wait_for(path: Path, text: str) -> None:
    """Until the first process has written the table that this one has sampled too."""
    end = time.monotonic() + LONGEST_WAIT_S
    while not (path.is_file() and path.read_text(encoding="utf-8") == text):
        if time.monotonic() > end:
            raise UserError(f"{path}: the first process did not write this table in {LONGEST_WAIT_S:.0f} s.")
        time.sleep(0.1)


# --- what people see -------------------------------------------------------------------------------------------------


class Progress:
    """One line per process: images done of its share, images a second, time left.

    Args:
        total: images that this process makes.
        skipped: images of its share that were complete before.
    """

    def __init__(self, total: int, skipped: int = 0) -> None:
        rank, world = process_rank()
        name = f"process {rank}" if world > 1 else "generating"
        self.bar = tqdm(
            total=total,
            desc=f"{name} ({skipped} done before)" if skipped else name,
            unit="image",
            position=int(os.environ.get("LOCAL_RANK", 0)),
            mininterval=0.5 if sys.stderr.isatty() else 10,
            dynamic_ncols=True,
        )

    def attach(self, engine: Engine) -> None:
        """Count every batch of the engine."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.bar.close)

    def __call__(self, engine: Engine) -> None:
        batch = engine.state.batch
        self.bar.update(len(batch) if isinstance(batch, list) else len(batch["image"]))  # a list once decollated


def _write_texts(out: Path, metadata: dict, name: str, passed_over: Sequence[str] = ()) -> None:
    """README, CHANGES and what validators shall pass over; what stands there already stays."""
    version = metadata.get("version", "0")
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    today = datetime.datetime.fromtimestamp(float(epoch) if epoch else time.time(), datetime.timezone.utc).date()
    texts = {
        "README": f"""Synthetic images, generated by the model {name} {version} ({metadata.get("name", name)}).

{metadata.get("description", "")}
No image shows a person. {metadata.get("intended_use", "")}

participants.tsv: what was requested each image; participants.json explains its columns.
{TABLE}: the requests from which the images were generated. The same table, bundle and settings give the same images.
Every image has a sidecar in JSON with its seed, its conditions, and the version and checksum of the weights.
croissant.json: all of it for machines, with checksums (Croissant 1.0, mlcommons.org).
nnUNet_raw: where there are label maps, the same images once more in nnU-Net's layout, as hard links.
Layout: BIDS {BIDS_VERSION}.
""",
        "CHANGES": f"1.0.0 {today.isoformat()}\n  - Images by {name} {version}.\n",
    }
    for file, text in texts.items():
        if not (out / file).exists():
            write_text(out / file, text)
    ignore = out / ".bidsignore"
    found = ignore.read_text(encoding="utf-8") if ignore.is_file() else ""
    missing = [line for line in (*NOT_BIDS, *passed_over) if line not in found.splitlines()]
    if missing:
        write_text(ignore, "".join(f"{line}\n" for line in [*found.splitlines(), *missing]))
