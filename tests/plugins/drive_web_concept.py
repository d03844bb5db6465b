"""Seek words in a photograph on the page, as a reader would; prints what was seen, as JSON.

    python drive_web_concept.py PAGE_URL OUT_FOLDER CHROMIUM TITLE_OF_THE_MODEL

Writes what the view shows as `<step>_view.npy`, and a screenshot of the page at each step.
"""

from __future__ import annotations

import json
import sys

from drive_web import Reader, opened

WORDS = ("car", "dog")  # the photograph shows a car, and no dog


def type_word(reader: Reader, text: str) -> None:
    """Fill in the word and press the button."""
    line = reader.page.locator("#field-concept input")
    line.fill(text)
    line.press("Enter")
    reader.run()


def seek(reader: Reader, model: str) -> dict:
    """The words, one after the other, in the photograph that is shown."""
    plain = reader.wait(0)
    reader.choose("model", model)
    reader.keep("plain", view=plain)
    before, notes = plain, []
    for word in WORDS:
        type_word(reader, word)
        reader.page.wait_for_selector("#overlay", state="visible")
        before = reader.wait(0, before)
        reader.keep(f"word_{word}", view=before)
        notes.append(reader.says("note", " s on the server"))
    return {"notes": notes, "shown": reader.page.locator("#shown").text_content().strip()}


def be_refused(reader: Reader) -> str:
    """A word that the model does not know."""
    type_word(reader, "dgo")
    said = reader.says("error", "dgo")
    reader.page.locator(".v-snackbar button").click()
    reader.page.wait_for_selector("#error", state="detached")
    return said


def main(url: str, out: str, chromium: str, model: str) -> dict:
    """All steps."""
    with opened(url, out, chromium) as (reader, failed):
        reader.page.wait_for_selector("img[src^=blob]")
        reader.views(1)
        report = {"seek": seek(reader, model), "refused": be_refused(reader)}
    return report | {"page_errors": failed}


if __name__ == "__main__":
    print("REPORT " + json.dumps(main(*sys.argv[1:5])), flush=True)
