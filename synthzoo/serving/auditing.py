"""Privacy audits of folders and of bundles, and their report: JSON, a page for people, and the figures of a card."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from synthzoo.bundle.find import find_bundle, read_json
from synthzoo.cases.values import check_seed
from synthzoo.errors import UserError
from synthzoo.evaluation.privacy.audit import Audit, audit
from synthzoo.evaluation.privacy.page import page
from synthzoo.evaluation.privacy.sets import expect_different, folder_set
from synthzoo.evaluation.privacy.spaces import FeatureSpace, IdentitySpace
from synthzoo.evaluation.privacy.verdict import criteria_of
from synthzoo.io.files import plain, sha256, write_json, write_text
from synthzoo.serving.audit_sources import INSTRUMENTS, Source, instrument_for, is_own, make_samples, takes_patients
from synthzoo.serving.fingerprinting import fingerprint_probe

JSON, PAGE, CARD = "audit.json", "audit.html", "privacy.json"
COLUMNS = ["test", "compared by", "attack", "control", "guess", "risk or ratio", "95 % interval", "verdict"]


def audit_folders(
    samples: str | Path,
    training: str | Path,
    holdout: str | Path | None = None,
    identity: str | None = None,
    patient: str | None = None,
    criteria: str | Path | None = None,
    seed: int = 0,
    root: str | Path = ".",
    say: Callable[[str], None] = print,
    fingerprint: str | Path | None = None,
) -> Audit:
    """Audit a folder of samples, see `synthzoo.evaluation.privacy.audit.audit`.

    Args:
        samples, training, holdout: folders.
        identity: name of a bundle of the task privacy_audit whose network tells patients apart, or a domain of
            `INSTRUMENTS`.
        patient: see `folder_set`.
        criteria: JSON file in the form of `criteria.json`.
        root: where bundles are looked for.
        fingerprint: the marked training image, see `fingerprint_probe`.

    Raises:
        UserError: see `folder_set` and `fingerprint_probe`; folders that share files; an identity bundle whose network
            compares nothing.
    """
    named = {"samples": samples, "training": training, **({"holdout": holdout} if holdout else {})}
    sets = [folder_set(folder, role, patient if role != "samples" else None) for role, folder in named.items()]
    expect_different(named)
    seed = check_seed(seed, "--seed")
    rules = criteria_of(read_json(criteria), criteria) if criteria else None
    unseen = sets[2] if holdout else None
    probes = {"fingerprint": fingerprint_probe(fingerprint, samples, root, seed)} if fingerprint else {}
    network = _instrument(identity, root)
    return audit(sets[0], sets[1], unseen, identity=network, criteria=rules, seed=seed, say=say, probes=probes)


def audit_bundle(
    bundle: str | Path,
    num_samples: int = 200,
    training_size: int | None = None,
    holdout_size: int = 1500,
    training: str | Path | None = None,
    holdout: str | Path | None = None,
    work_dir: str | Path | None = None,
    identity: str | None = None,
    criteria: str | Path | None = None,
    seed: int = 0,
    root: str | Path = ".",
    say: Callable[[str], None] = print,
    fingerprint: str | Path | None = None,
) -> Audit:
    """Generate samples of a bundle and audit them.

    Args:
        bundle: name or folder of a generative bundle, of this zoo or of another.
        num_samples: how many.
        training_size: so many training images, drawn at random; None takes all.
        holdout_size: about so many images of unseen patients.
        training, holdout: folders in place of what the bundle's training config draws; a bundle from elsewhere needs
            the first.
        work_dir: keeps samples and phantoms, so that an interrupted audit goes on; None takes a temporary folder.
        identity: see `audit_folders`; None takes the zoo's instrument for the bundle's anatomy and modality.
        fingerprint: see `audit_folders`; the bundle has to be trained with that image.

    Raises:
        UserError: see `make_samples`, `Source` and `audit_folders`.
    """
    folder = find_bundle(bundle, root)
    sizes = {"num_samples": num_samples, "holdout_size": holdout_size, "training_size": training_size}
    for name, value in sizes.items():
        if value is None and name == "training_size":
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 2:
            raise UserError(f"--{name} is {value!r}, but must be an integer of at least 2.")
    seed = check_seed(seed, "--seed")
    own = is_own(folder)
    if not own and not training:
        raise UserError(
            f"{folder.name} does not say on which images it was trained: give --training FOLDER, and --holdout "
            "FOLDER with images of patients whom it never saw."
        )
    rules = criteria_of(read_json(criteria), criteria) if criteria else None
    with tempfile.TemporaryDirectory(prefix="audit_") as temporary:
        place = Path(work_dir or temporary).resolve()
        source = Source(folder, str(place / "phantoms")) if own else None
        known = folder_set(training, "training") if training else source.training(training_size)
        unseen = folder_set(holdout, "holdout") if holdout else None
        if unseen is None and not training:
            unseen = source.holdout(holdout_size)
        made = place / f"{folder.name}_{num_samples}_{seed}"
        say(f"generating {num_samples} images with {folder.name}")
        make_samples(folder, made, num_samples, seed, source)
        samples = folder_set(made, "samples")
        samples.name = folder.name
        instrument, notes = _instrument(identity, root) if identity else instrument_for(folder.name, root), []
        if instrument is not None and not identity and samples.kind not in instrument.kinds:
            notes.append(f"The instrument {instrument.instrument} takes {instrument.kinds[0]}s, and these are none.")
            instrument = None
        probes = {"fingerprint": fingerprint_probe(fingerprint, made, root, seed)} if fingerprint else {}
        found = audit(samples, known, unseen, identity=instrument, criteria=rules, seed=seed, say=say, probes=probes)
    found.report["notes"] += notes
    if source is not None and not training:
        found.report["phantoms"] = True
        count = len(source.rows("train"))
        if training_size is not None and training_size < count:
            found.report["notes"].append(f"{training_size} of {count} training images, drawn at random, were compared.")
        if takes_patients(folder):
            found.report["notes"].append(
                "Each sample was made from an image of an unseen patient and shows that patient by design; whether he "
                "is recognised was not audited, only whether training patients come back."
            )
    return found


def _instrument(identity: str | None, root: str | Path) -> IdentitySpace | FeatureSpace | None:
    if not identity or identity in INSTRUMENTS:
        return instrument_for(identity, root) if identity else None
    folder = find_bundle(identity, root)
    found = instrument_for(folder.name, folder.parent)
    if found is None or found.instrument != folder.name:
        raise UserError(f"--identity {identity}: its network compares no two images; give a bundle as of {CARD}.")
    return found


def write_audit(found: Audit, out: str | Path, title: str, command: str, pictures: bool = True) -> dict[str, Any]:
    """Write audit.json and audit.html into a folder and return what the JSON file holds.

    Args:
        found: see `audit`.
        out: the folder.
        title: what was audited, for the page.
        command: the command line that gives the same figures.
        pictures: whether the page shows nearest pairs, and so training images.

    Raises:
        UserError: `out` is a file.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file: name a folder for {JSON} and {PAGE}.")
    report = plain({"command": command, **found.report, **card_of(found.report)})
    names = [{key: value for key, value in pair.items() if key != "images"} for pair in found.pairs]
    report["nearest_pairs"] = plain(names)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / JSON, report)
    write_text(out / PAGE, page(report, found.pairs if pictures else [], title))
    return report


def publish(report: Mapping[str, Any], bundle: str | Path) -> Path:
    """Write what the card of a bundle shows of an audit, its docs/privacy.json; `make index` puts it there.

    The file also names the weights, so that figures of older ones are noticed.
    """
    path, weights = Path(bundle) / "docs" / CARD, Path(bundle) / "models" / "model.pt"
    kept = ("command", "schema_version", "verdict", "phantoms", "settings", "sets", "tables", "figures", "notes")
    content = {key: report[key] for key in (*kept, "not_tested") if key in report}
    write_json(path, {**content, "weights_sha256": sha256(weights) if weights.is_file() else None})
    return path


def card_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """Tables and figures of an audit, as a card's reports have them."""
    rows, figures = [], {"privacy_verdict": report["verdict"]}
    for test in report["tests"]:
        name = f"{test['test']}_{test['space']}"
        if "risk" in test:
            low, high = test["risk"]["interval"]
            rates = [f"{test[key]['successes']} of {test[key]['n']}" for key in ("attack", "control", "baseline")]
            rows.append([test["test"], test["space"], *rates, round(test["risk"]["value"], 4)])
            figures[f"{name}_risk"] = round(test["risk"]["value"], 4)
        elif "ratio" in test:
            low, high = test["interval"]
            rows.append([test["test"], test["space"], None, None, None, round(test["ratio"], 4)])
            figures[f"{name}_ratio"] = round(test["ratio"], 4)
        else:
            held = test.get("held_out_of_as_many")
            low, high = test["samples"]["interval"]
            rates = [f"{rate['successes']} of {rate['n']}" if rate else None for rate in (test["samples"], held, None)]
            rows.append([test["test"], test["space"], *rates, round(test["samples"]["rate"], 4)])
            figures[name] = round(test["samples"]["rate"], 4)
        rows[-1] += [f"{low:.3f} to {high:.3f}", test["verdict"] or "for information"]
    sets = report["sets"]
    counts = f"{sets['samples']['images']} samples, {sets['training']['images']} training images of "
    counts += f"{sets['training']['patients']} patients"
    if "holdout" in sets:
        counts += f", {sets['holdout']['images']} unseen images of {sets['holdout']['patients']} patients"
    title = f"Privacy audit: {report['verdict']}; {counts}; how to read it says `docs/privacy.md`"
    open_points = [[line] for line in [*report["notes"], *report["not_tested"]]]
    tables = [{"title": title, "columns": COLUMNS, "rows": rows}]
    tables.append({"title": "Privacy audit: remarks, and what was not tested", "columns": [""], "rows": open_points})
    return {"tables": tables, "figures": figures}
