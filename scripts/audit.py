"""Privacy audit: do generated images repeat training images? Writes audit.json and audit.html; see docs/privacy.md.

python scripts/audit.py --samples GENERATED --training TRAINING --holdout UNSEEN --out audit
python scripts/audit.py --bundle echo_us_cine_synthesis_ldm --num_samples 300 --out audit

Exit code: 0 pass, 2 not shown safe, 3 leak, 1 for a mistake.
"""

import sys
from pathlib import Path

from synthzoo.bundle.find import find_bundle
from synthzoo.cli import run
from synthzoo.errors import UserError
from synthzoo.evaluation.privacy.verdict import LEAK, PASS, UNSURE
from synthzoo.serving.auditing import JSON, PAGE, audit_bundle, audit_folders, publish, write_audit

ROOT = Path(__file__).resolve().parents[1]
EXIT_CODES = {PASS: 0, UNSURE: 2, LEAK: 3}


def main(
    samples: str | None = None,
    training: str | None = None,
    holdout: str | None = None,
    bundle: str | None = None,
    num_samples: int = 200,
    training_size: int | None = None,
    holdout_size: int = 1500,
    identity: str | None = None,
    fingerprint: str | None = None,
    patient: str | None = None,
    criteria: str | None = None,
    work_dir: str | None = None,
    out: str = "audit",
    pictures: bool = True,
    seed: int = 0,
    to_card: bool = False,
) -> None:
    """Audit a folder of samples, or a bundle.

    Args:
        samples, training, holdout: folders of generated images, of those that the generator was trained on, and of
            images of patients whom it never saw.
        bundle: name or folder of a generative bundle, in place of samples; the zoo's own know their training images.
        num_samples, training_size, holdout_size: images of a bundle's audit; all training images by default.
        identity: bundle whose network tells patients apart, such as echo_us_privacy_audit_reid, or chest_xr; a bundle's
            own domain has it by default.
        fingerprint: the one training image that was marked, as the generator saw it: it is counted among the samples.
        patient: regular expression that finds the patient in a file's path, such as "sub-[0-9]+".
        criteria: JSON file of one's own criteria.
        work_dir: keeps what is generated.
        out: folder of audit.json and audit.html.
        pictures: False leaves the nearest pairs out of the page, for they show training images.
        seed: decides what is drawn.
        to_card: also write docs/privacy.json of the bundle, for `make index`.
    """
    shared = {"holdout": holdout, "identity": identity, "criteria": criteria, "seed": seed, "root": ROOT}
    shared["fingerprint"] = fingerprint
    command = "python scripts/audit.py"
    if to_card and bundle is None:
        raise UserError("--to_card writes into a bundle: give --bundle NAME.")
    if bundle is not None:
        if samples is not None:
            raise UserError("both --samples and --bundle are given: a bundle makes its own samples; leave one out.")
        sizes = {"num_samples": num_samples, "training_size": training_size, "holdout_size": holdout_size}
        found = audit_bundle(bundle, training=training, work_dir=work_dir, **sizes, **shared)
        title = Path(str(bundle)).name
        command += f" --bundle {title}"
        command += "".join(f" --{name} {value}" for name, value in sizes.items() if value is not None)
    else:
        if samples is None or training is None:
            raise UserError("give --samples FOLDER --training FOLDER (and --holdout FOLDER), or --bundle NAME.")
        found = audit_folders(samples, training, patient=patient, **shared)
        title = Path(str(samples)).name
        command += f" --samples {title} --training {Path(str(training)).name}"
    if holdout is not None:
        command += f" --holdout {Path(str(holdout)).name}"
    if fingerprint is not None:
        command += f" --fingerprint {Path(str(fingerprint)).name}"
    report = write_audit(found, out, title, f"{command} --seed {seed}", bool(pictures))
    if to_card:
        print(publish(report, find_bundle(bundle, ROOT)))
    for row in report["tables"][0]["rows"]:
        print(*("-" if cell is None else cell for cell in row), sep=" | ")
    print(f"{report['verdict']}; see {Path(out) / PAGE} and {Path(out) / JSON}")
    sys.exit(EXIT_CODES[report["verdict"]])


if __name__ == "__main__":
    run(main)
