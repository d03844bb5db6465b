"""Generate a labelled slice on the page and paint the one that is shown again; prints what was seen, as JSON.

    python drive_web_painting.py PAGE_URL OUT_FOLDER CHROMIUM TITLE_OF_THE_MODEL

Writes what the views show as `<step>_view.npy`, and a screenshot of the page at each step.
"""

from __future__ import annotations

import json
import sys

from drive_web import Reader, opened


def set_style(reader: Reader, style: str) -> None:
    """Type a style, which need not be one of the list."""
    line = reader.page.locator("#field-style input")
    line.fill(style)
    line.press("Enter")
    line.press("Tab")


def main(url: str, out: str, chromium: str, model: str) -> dict:
    """All steps."""
    with opened(url, out, chromium) as (reader, failed):
        reader.page.wait_for_selector("img[src^=blob]")
        before = reader.view(0)
        reader.choose("model", model)
        reader.says("run", "Generate")
        reader.page.locator("#settings").click()
        reader.page.locator("#field-steps input[type=number]").fill("4")
        reader.page.locator("#field-steps input[type=number]").press("Tab")
        set_style(reader, "T2w")
        reader.run()
        generated = reader.says("shown", "brain_mr_synthesis_spade")
        reader.views(1)
        made = reader.wait(0, before)
        reader.keep("generated", view=made)
        reader.page.locator("#use-study").check()
        set_style(reader, "FLAIR")
        reader.run()
        painted = reader.says("shown", " | ")
        reader.views(2)
        reader.keep("painted", view=reader.wait(1))
        set_style(reader, "T9")
        reader.run()
        refused = reader.says("error", "T9")
    return {"generated": generated, "painted": painted, "refused": refused, "page_errors": failed}


if __name__ == "__main__":
    print("REPORT " + json.dumps(main(*sys.argv[1:5])), flush=True)
