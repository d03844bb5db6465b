"""Report sentences and grounding phrases of chest phantoms; every claim follows from the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from synthzoo.phantoms.chest.findings import DEVICES
from synthzoo.phantoms.chest.truth import FindingTruth

REPORT = 309  # salt
# kind: clauses, each a grounding phrase; {size} is a word of size or nothing, {side} and {zone} may be dropped.
CLAUSES = {
    "nodule": (
        "{size}nodule in the {side} {zone} zone",
        "{size}nodular opacity in the {side} {zone} lung zone",
        "{size}rounded nodule projecting over the {side} {zone} zone",
    ),
    "consolidation": (
        "{size}consolidation in the {side} {zone} zone",
        "{size}area of consolidation in the {side} {zone} lung zone",
        "{size}airspace consolidation, {side} {zone} zone",
    ),
    "effusion": (
        "{size}{side} pleural effusion",
        "{size}pleural effusion on the {side}",
        "{size}effusion at the {side} base",
    ),
    "pneumothorax": (
        "{size}{side} apical pneumothorax",
        "{size}pneumothorax on the {side}",
        "{size}{side} pneumothorax at the apex",
    ),
    "cardiomegaly": (
        "{size}cardiomegaly",
        "{size}enlargement of the cardiac silhouette",
        "{size}enlargement of the heart",
    ),
    "pacemaker": ("pacemaker with leads in place", "left-sided pacemaker"),
    "central line": ("central venous line in place", "right-sided central venous catheter"),
}
BRIEF = {
    "nodule": "{size}nodule",
    "consolidation": "{size}consolidation",
    "effusion": "{size}pleural effusion",
    "pneumothorax": "{size}pneumothorax",
}
OPENINGS = ("There is {clause}.", "{clause}.", "{clause} is seen.", "Findings include {clause}.")
SIZES = {
    "cardiomegaly": {"small": "mild ", "moderate": "moderate ", "large": "marked "},
    "consolidation": {"small": "small ", "moderate": "", "large": "extensive "},
}
PLAIN_SIZES = {"small": "small ", "moderate": "moderate ", "large": "large "}
ABSENT = {
    "consolidation": ("No focal consolidation.", "No consolidation is seen."),
    "effusion": ("No pleural effusion.", "The costophrenic angles are clear."),
    "pneumothorax": ("No pneumothorax.", "There is no pneumothorax."),
    "nodule": ("No nodule is seen.",),
}
HEART = ("The heart size is normal.", "Heart size is within normal limits.", "No cardiomegaly.")
NORMAL = ("No acute cardiopulmonary process.", "Normal chest radiograph.", "The lungs are clear.")
BRIEF_SHARE, SIZE_SHARE, ABSENT_SHARE = 0.2, 0.5, 0.7


def write_report(findings: Sequence[FindingTruth], seed: Sequence[int] = (0,)) -> str:
    """The report, which sets each finding's `phrase`: positives in random order, then some of what is absent.

    Args:
        findings: of `read_findings`.
        seed: integers that draw the wording.
    """
    rng = np.random.default_rng([REPORT, *seed])
    sentences = []
    for number in rng.permutation(len(findings)):
        found = findings[number]
        found.phrase = _clause(found, rng)
        opening = str(rng.choice(OPENINGS))
        clause = _with_article(found.phrase) if opening.startswith(("There", "Findings")) else found.phrase
        sentences.append(_capital(opening.format(clause=clause)))
    kinds = {found.kind for found in findings}
    if not kinds - set(DEVICES) and rng.random() < 0.5:
        sentences.append(str(rng.choice(NORMAL)))
    for number in rng.permutation(len(ABSENT)):
        kind = list(ABSENT)[number]
        if kind not in kinds and rng.random() < ABSENT_SHARE:
            sentences.append(str(rng.choice(ABSENT[kind])))
    if "cardiomegaly" not in kinds and rng.random() < ABSENT_SHARE:
        sentences.append(str(rng.choice(HEART)))
    return " ".join(sentences) if sentences else NORMAL[0]


def _clause(found: FindingTruth, rng: np.random.Generator) -> str:
    sizes = SIZES.get(found.kind, PLAIN_SIZES)
    size = sizes.get(found.severity, "") if rng.random() < SIZE_SHARE else ""
    if found.kind in BRIEF and rng.random() < BRIEF_SHARE:
        pattern = BRIEF[found.kind]
    else:
        pattern = str(rng.choice(CLAUSES[found.kind]))
    return pattern.format(size=size, side=found.side, zone=found.zone)


def _with_article(clause: str) -> str:
    if "cardiomegaly" in clause or clause.split()[0] == "consolidation" or "enlargement" in clause:
        return clause
    if "consolidation" in clause and "area" not in clause:
        return clause
    return f"{'an' if clause[0] in 'aeiou' else 'a'} {clause}"


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]
