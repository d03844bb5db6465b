"""Seek phrases in a radiograph on the page and let a sentence become one; prints what was seen, as JSON.

    python drive_web_prompt.py PAGE_URL OUT_FOLDER CHROMIUM TITLE_OF_THE_MODEL

Writes what the view shows as `<step>_view.npy`, and a screenshot of the page at each step.
"""

from __future__ import annotations

import json
import sys

from drive_web import Reader, opened

PHRASES = ("consolidation", "left pleural effusion")
SENTENCE = "Large right pleural effusion. No pneumothorax."


def type_prompt(reader: Reader, text: str) -> None:
    """Fill in the line and press the button."""
    line = reader.page.locator("#field-prompt input")
    line.fill(text)
    line.press("Tab")
    reader.run()


def close_error(reader: Reader) -> None:
    reader.page.locator(".v-snackbar button").click()
    reader.page.wait_for_selector("#error", state="detached")


def seek(reader: Reader, model: str) -> dict:
    """Two phrases, one after the other, in the radiograph that is shown."""
    plain = reader.wait(0)
    reader.choose("model", model)
    verb = reader.says("run", "Locate")
    reader.keep("plain", view=plain)
    before, seconds = plain, []
    for number, phrase in enumerate(PHRASES):
        type_prompt(reader, phrase)
        reader.page.wait_for_selector("#overlay", state="visible")
        before = reader.wait(0, before)
        reader.keep(f"phrase_{number}", view=before)
        seconds.append(reader.says("note", " s on the server"))
    return {"verb": verb, "notes": seconds, "shown": reader.page.locator("#shown").text_content().strip()}


def be_refused(reader: Reader) -> list[str]:
    """A word that the model does not know, and no word."""
    said = []
    for text, about in (("noduel", "noduel"), ("no effusion", "not there")):
        type_prompt(reader, text)
        said.append(reader.says("error", about))
        close_error(reader)
    return said


def generate(reader: Reader) -> dict:
    """A report's sentence becomes a radiograph, which is shown beside the one that is there."""
    reader.page.locator("#settings").click()
    reader.page.locator("#field-generate input[type=checkbox]").check()
    reader.page.locator("#field-steps input[type=number]").fill("4")
    reader.page.locator("#field-steps input[type=number]").press("Tab")
    type_prompt(reader, SENTENCE)
    shown = reader.says("shown", " | ")
    reader.views(2)
    reader.keep("generated", view=reader.wait(1))
    return {"shown": shown, "studies": reader.page.locator("#studies .v-list-item-title").all_inner_texts()}


def main(url: str, out: str, chromium: str, model: str) -> dict:
    """All steps."""
    with opened(url, out, chromium) as (reader, failed):
        reader.page.wait_for_selector("img[src^=blob]")
        reader.views(1)
        report = {"seek": seek(reader, model), "refused": be_refused(reader), "generate": generate(reader)}
    return report | {"page_errors": failed}


if __name__ == "__main__":
    print("REPORT " + json.dumps(main(*sys.argv[1:5])), flush=True)
