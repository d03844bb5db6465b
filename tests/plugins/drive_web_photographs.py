"""Look at a photograph on the page and change its colours; prints what was seen, as JSON.

    python drive_web_photographs.py PAGE_URL OUT_FOLDER CHROMIUM TITLE_OF_THE_MODEL STUDY

Writes what the views show as `<step>_view.npy`, and a screenshot of the page at each step.
"""

from __future__ import annotations

import json
import sys

from drive_web import opened


def main(url: str, out: str, chromium: str, model: str, study: str) -> dict:
    """All steps."""
    with opened(url, out, chromium) as (reader, failed):
        reader.page.wait_for_selector("img[src^=blob]")
        reader.open(study)
        reader.views(1)
        reader.keep("photograph", view=reader.wait(0))
        reader.choose("model", model)
        reader.run()
        shown = reader.says("shown", " | ")
        reader.views(2)
        reader.keep("left", view=reader.wait(0))
        reader.keep("right", view=reader.wait(1))
    return {"shown": shown, "page_errors": failed}


if __name__ == "__main__":
    print("REPORT " + json.dumps(main(*sys.argv[1:6])), flush=True)
