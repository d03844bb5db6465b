"""One HTML page of an audit for a data protection officer: plain words first, no network, every text escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from synthzoo.evaluation.privacy.verdict import LEAK, PASS, UNSURE
from synthzoo.evaluation.privacy.words import GLOSSARY, VERDICTS, test_words
from synthzoo.results.preview import planes

SIDE = 160  # pixels of a picture's shorter side
CLASSES = {LEAK: "leak", UNSURE: "unsure", PASS: "pass", None: "none"}
STYLE = """
:root { color-scheme: light; }
body { font: 17px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 62rem; margin: 0 auto;
  padding: 1rem; }
h1 { font-size: 1.7rem; margin: .5rem 0; } h2 { font-size: 1.3rem; margin: 2rem 0 .5rem; }
.verdict { border-left: .6rem solid; padding: .6rem 1rem; margin: 1rem 0; background: #f5f5f5; }
.verdict strong { font-size: 1.4rem; display: block; }
.verdict.leak { border-color: #a3001d; } .verdict.unsure { border-color: #8a5a00; }
.verdict.pass { border-color: #00613a; }
small { font-weight: 400; color: #444; }
td.leak, td.unsure, td.pass { font-weight: 600; } td.leak { color: #a3001d; } td.unsure { color: #744b00; }
td.pass { color: #00613a; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; margin: .5rem 0 1rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid #ccc; }
caption { text-align: left; color: #444; padding: .2rem 0; } .wide { overflow-x: auto; }
figure { display: inline-block; margin: 0 1.2rem 1.2rem 0; vertical-align: top; max-width: 100%; }
figure img { border: 1px solid #888; margin-right: .3rem; max-width: 48%; height: auto; background: #000; }
figcaption { font-size: .85rem; color: #333; max-width: 24rem; overflow-wrap: anywhere; }
dt { font-weight: 600; } dd { margin: 0 0 .4rem 1rem; } code { overflow-wrap: anywhere; }
@media (max-width: 40rem) { .answers tr { display: block; padding: .5rem 0; border-bottom: 1px solid #ccc; }
  .answers th, .answers td { display: block; border: 0; padding: .1rem 0; } .answers .head { display: none; } }
@media print { body { max-width: none; } h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""
# No script, no address: a page from an audit of someone else's files can do nothing in a browser.
PAGE = """<!DOCTYPE html>
<html lang="en"><head>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Privacy audit: {title}</title><style>{style}</style></head>
<body><main>{body}</main></body></html>
"""


def page(report: Mapping[str, Any], pairs: Sequence[Mapping[str, Any]], title: str) -> str:
    """The page as text.

    Args:
        report: of an audit, see `synthzoo.evaluation.privacy.audit.Audit`; its "command", too, where it has one.
        pairs: nearest pairs with their "images"; none leaves the pictures out.
        title: what was audited.
    """
    heading, advice = VERDICTS[report["verdict"]]
    parts = [
        f'<h1>Privacy audit: {escape(title)}</h1><div class="verdict {CLASSES[report["verdict"]]}" role="status">'
        f"<strong>{escape(heading)}</strong>{escape(advice)}</div>",
        f"<p>{escape(_compared(report))}</p>",
        _answers(report["tests"]),
        _pictures(pairs, bool(report.get("phantoms"))),
        "<h2>What was not tested</h2>" + _list(report["not_tested"]),
        "<h2>Remarks on the images</h2>" + _list(report["notes"]) if report["notes"] else "",
        _details(report["tests"]),
        "<h2>Words</h2><dl>"
        + "".join(f"<dt>{escape(word)}</dt><dd>{escape(said)}</dd>" for word, said in GLOSSARY.items())
        + "</dl>",
        _made(report),
    ]
    body = "\n".join(part for part in parts if part)
    return PAGE.format(title=escape(title), style=STYLE, body=body)


def _compared(report: Mapping[str, Any]) -> str:
    sets = report["sets"]
    text = f"{sets['samples']['images']:,} generated images were compared with {sets['training']['images']:,} training "
    text += f"images of {sets['training']['patients']:,} patients"
    if report.get("phantoms"):
        text = "All images here are phantoms, pictures from an exact model of anatomy, and show no person. " + text
    if "holdout" not in sets:
        return f"{text}. There were no images of people whom the generator never saw, so that safety cannot be shown."
    held = sets["holdout"]
    return (
        f"{text}, and both with {held['images']:,} images of {held['patients']:,} people whom the generator never saw."
    )


def _answers(tests: Sequence[Mapping[str, Any]]) -> str:
    """The questions with their answers: the worst verdict of the spaces in which each was asked."""
    order = [LEAK, UNSURE, PASS, None]
    rows = []
    for name in dict.fromkeys(test["test"] for test in tests):
        own = [test for test in tests if test["test"] == name]
        worst = min((test["verdict"] for test in own), key=order.index)
        shown = next(test for test in own if test["verdict"] == worst)
        question, method = test_words(name)
        rows.append(
            f'<tr><th scope="row">{escape(question)}<br><small>{escape(method)}</small></th>'
            f'<td class="{CLASSES[worst]}">{escape(worst or "for information")}</td>'
            f"<td>{escape(_answer(shown))}</td></tr>"
        )
    head = (
        '<tr class="head"><th scope="col">question</th><th scope="col">answer</th><th scope="col">in numbers</th></tr>'
    )
    note = "<p>Each question was asked in several ways; the least favourable answer stands here.</p>"
    return f'<h2>Questions and answers</h2>{note}<table class="answers">{head}{"".join(rows)}</table>'


def _answer(test: Mapping[str, Any]) -> str:
    where = f"Compared by {test['compared_by']}: " if test.get("compared_by") else ""
    if "ratio" in test:
        low, high = test["interval"]
        return f"{where}{test['ratio']:.2f} (from {low:.2f} to {high:.2f}); 1 is as new as other people."
    if "risk" in test:
        low, high = test["risk"]["interval"]
        attack, control = test["attack"], test["control"]
        text = (
            f"{where}the attack succeeds in {_share(attack)} of {attack['n']:,} cases, the control in "
            f"{_share(control)}; "
            f"risk {100 * test['risk']['value']:.1f} % (from {100 * max(low, 0):.1f} to {100 * high:.1f} %)."
        )
        return text if test["better_than_guess"] else text + " It is no better than a guess."
    if "samples" in test:
        text = f"{where}{_share(test['samples'])} of what could show up"
        if "held_out_of_as_many" in test:
            text += f"; with {test['of_each']:,} images each, {_share(test['samples_of_as_many'])} against "
            text += f"{_share(test['held_out_of_as_many'])} for other people"
        return text + "."
    return where


def _share(rate: Mapping[str, Any]) -> str:
    return "none" if rate["rate"] is None else f"{100 * rate['rate']:.1f} %"


def _pictures(pairs: Sequence[Mapping[str, Any]], phantoms: bool) -> str:
    if not pairs:
        return "<h2>Nearest pairs</h2><p>The pictures were left out.</p>"
    text = (
        "<h2>Nearest pairs</h2><p>Left an image, right the training image that it is nearest to. "
        "<strong>Training images are shown: keep this page as confidential as they are.</strong> The last pairs show "
        "real "
        "images of other people with their nearest training image: this much alike two people look anyway.</p>"
    )
    for pair in pairs:
        other = "Another phantom's" if phantoms else "Real image of another person"
        kind = "Generated" if pair["kind"] == "sample" else other
        said = f"{kind}: {pair['name']}. Training: {pair['training_name']}. Distance {pair['distance']:.2f}, "
        said += f"{pair['ratio']:.2f} times that to images never seen." if "ratio" in pair else "."
        names = (f"{kind} image {pair['name']}", f"training image {pair['training_name']}")
        shown = "".join(_picture(image, name) for image, name in zip(pair["images"], names, strict=True))
        text += f"<figure>{shown}<figcaption>{escape(said)}</figcaption></figure>"
    return text


def _picture(image: np.ndarray, alternative: str) -> str:
    return f'<img src="data:image/png;base64,{_png(image)}" alt="{escape(alternative)}">'


def picture_of(image: np.ndarray, kind: str) -> np.ndarray:
    """What is shown of an image: the axial plane of a volume, the middle frame of a video, (H, W)."""
    if kind == "volume":
        return planes(image)[:, : image.shape[0]]
    return image[len(image) // 2] if kind == "video" else image


def _png(flat: np.ndarray) -> str:
    low, high = np.percentile(flat, [0.5, 99.5])
    grey = np.uint8(255 * np.clip((flat - low) / max(float(high - low), 1e-6), 0, 1))
    scale = max(1, -(-SIDE // min(grey.shape)))
    width, height = (min(size * scale, 4 * SIDE) for size in grey.shape[::-1])
    buffer = BytesIO()
    Image.fromarray(grey).resize((width, height), Image.Resampling.NEAREST).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _details(tests: Iterable[Mapping[str, Any]]) -> str:
    columns = ("test", "compared by", "attack", "control", "guess", "risk or ratio", "interval", "chance", "verdict")
    rows = []
    for test in tests:
        if "risk" in test:
            low, high = test["risk"]["interval"]
            cells = [_of(test[name]) for name in ("attack", "control", "baseline")]
            cells += [f"{test['risk']['value']:.3f}", f"{low:.3f} to {high:.3f}"]
            chance = test["probability_by_chance"]
            cells.append("-" if chance is None else f"{chance:.2g}")
        elif "ratio" in test:
            low, high = test["interval"]
            cells = ["-", "-", "-", f"{test['ratio']:.3f}", f"{low:.3f} to {high:.3f}", "-"]
        else:
            continue
        cells = [test["test"], test["space"], *cells]
        shown = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        verdict = test["verdict"] or "-"
        rows.append(f'<tr>{shown}<td class="{CLASSES[test["verdict"]]}">{escape(verdict)}</td></tr>')
    head = "<tr>" + "".join(f'<th scope="col">{column}</th>' for column in columns) + "</tr>"
    note = "Chance: the probability of as many successes if nothing had leaked. Risks below 0 are chance."
    return f'<h2>All tests</h2><div class="wide"><table><caption>{note}</caption>{head}{"".join(rows)}</table></div>'


def _of(rate: Mapping[str, Any]) -> str:
    return f"{rate['successes']} of {rate['n']}"


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _made(report: Mapping[str, Any]) -> str:
    text = f"<p>Seed {report['settings']['seed']}; the same images and seed give the same figures."
    if report.get("command"):
        text += f" Made by <code>{escape(report['command'])}</code>."
    return text + " All figures stand in the JSON file beside this page. Research software, no legal advice.</p>"
