"""Use the page as a reader would, in a real headless Chromium; prints what was seen, as JSON.

    python drive_web.py PAGE_URL OUT_FOLDER CHROMIUM THRESHOLD_OF_THE_MAP

Writes what each view shows as `<step>_<view>.npy` ([rows, columns] of grey or [rows, columns, 3] of colours), and a
screenshot of the page at each step.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkIOImage import vtkJPEGReader, vtkPNGReader

LONGEST_S, STILL_S, PLAY_S = 100, 0.8, 3.0
# A new browser without a sandbox (tests may run as root), a GPU and its own talk over the network.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
FOUR = {"axial": 0, "coronal": 1, "three": 2, "sagittal": 3}
PAIR = {"left": 0, "left_coronal": 1, "right": 2, "right_coronal": 3}
PIXELS = """
(number) => {
  const image = document.querySelectorAll('img[src^=blob]')[number];
  const canvas = document.createElement('canvas');
  canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
  canvas.getContext('2d').drawImage(image, 0, 0);
  return canvas.toDataURL('image/png').split(',')[1];
}
"""


class Reader:
    """A reader in front of the page."""

    def __init__(self, page: Page, out: Path):
        self.page, self.out = page, out
        self.still_s = STILL_S  # a busy machine takes longer from one picture to the next

    def view(self, number: int) -> np.ndarray:
        """What a view shows now, [rows, columns, 3], as the browser has it."""
        data = base64.b64decode(self.page.evaluate(PIXELS, number))
        reader = (vtkPNGReader if data[:4] == b"\x89PNG" else vtkJPEGReader)()
        with tempfile.NamedTemporaryFile(suffix=".png") as file:
            file.write(data)
            file.flush()
            reader.SetFileName(file.name)
            reader.Update()
            image = reader.GetOutput()
            columns, rows, _ = image.GetDimensions()
            return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, -1)[::-1, :, :3].copy()

    def wait(self, number: int, before: np.ndarray | None = None) -> np.ndarray:
        """Wait until a view shows something else than before and then stands still."""
        began = since = time.monotonic()
        end, last, first, changed = began + LONGEST_S, None, before is None, False
        while time.monotonic() < end:
            now = self.view(number)
            if last is None or now.shape != last.shape or (now != last).any():
                last, since = now, time.monotonic()
            changed = before is None or now.shape != before.shape or (now != before).any()
            if changed and not first:
                first = True
                self.still_s = max(self.still_s, min(5.0, 2 * (time.monotonic() - began)))
            if changed and time.monotonic() - since > self.still_s:
                return now
            self.page.wait_for_timeout(100)
        raise AssertionError(f"view {number} did not {'stand still' if changed else 'change'} within {LONGEST_S} s")

    def views(self, count: int) -> None:
        """Wait until there are so many views."""
        self.page.wait_for_function(f"document.querySelectorAll('img[src^=blob]').length === {count}")

    def frame(self) -> int:
        """The number of the frame that stands on the page."""
        return int(self.page.locator("#frame").text_content().split()[1])

    def go_half_round(self, start: int) -> None:
        """Bring the video to the frame farthest from one (1 is the first), by the keys of its slider."""
        slider = self.page.locator("#video [role=slider]")
        frames = int(slider.get_attribute("aria-valuemax")) + 1
        slider.press("Home")
        for _ in range((start - 1 + frames // 2) % frames):
            slider.press("ArrowRight")

    def play(self, seconds: float) -> dict:
        """Press play, watch, press pause; gives when which frame stood there, and the fewest pictures of a view."""
        self.page.locator("#play").click()
        views = self.page.locator("img[src^=blob]")
        began, frames, pictures = time.monotonic(), [], [set() for _ in range(views.count())]
        while time.monotonic() - began < seconds:
            number = self.frame()
            if not frames or number != frames[-1][1]:
                frames.append([time.monotonic(), number])
            for number, seen in enumerate(pictures):
                seen.add(views.nth(number).get_attribute("src"))
            self.page.wait_for_timeout(20)
        self.page.locator("#play").click()
        self.page.wait_for_function("document.getElementById('play').title === 'play'")
        # What was on its way when it was pressed comes first, which takes longer on a busy machine.
        deadline, texts = time.monotonic() + 10, {"", "moving"}
        while len(texts) > 1 and time.monotonic() < deadline:
            texts = set()
            for _ in range(10):
                texts.add(self.page.locator("#frame").text_content())
                self.page.wait_for_timeout(50)
        paused, still = max(texts), len(texts) == 1
        return {"text": paused, "frames": frames, "pictures": min(map(len, pictures)), "still": still}

    def keep(self, step: str, **views: np.ndarray) -> None:
        """Write views and a screenshot."""
        for name, image in views.items():
            np.save(self.out / f"{step}_{name}.npy", image)
        self.page.screenshot(path=self.out / f"{step}.png")

    def choose(self, box: str, text: str) -> None:
        """Choose an entry of a list."""
        self.page.locator(f".v-input:has(#{box})").click()
        self.page.get_by_role("option", name=text, exact=True).click()

    def open(self, study: str) -> None:
        """Click a study."""
        self.page.locator("#studies .v-list-item").filter(has_text=study).first.click()
        self.says("shown", study)

    def says(self, place: str, text: str) -> str:
        """Wait until a text stands somewhere; gives all that stands there."""
        self.page.wait_for_function(
            "([id, text]) => document.getElementById(id)?.textContent.includes(text)"
            " || document.getElementById('error')?.textContent",
            arg=[place, text],
        )
        error = self.page.locator("#error")
        assert place == "error" or not error.count(), error.text_content()
        return self.page.locator(f"#{place}").text_content().strip()

    def slider(self, number: int, key: str) -> None:
        """Press a key on a slider of the heat map: 0 is its opacity, 1 its threshold."""
        self.page.locator("#overlay [role=slider]").nth(number).press(key)

    def set_number(self, option: str, value: str) -> None:
        """Fill in a field, and tick its condition."""
        field = self.page.locator(f"#field-{option}")
        field.locator("input[type=checkbox]").check()
        field.locator("input[type=number]").fill(value)
        field.locator("input[type=number]").press("Tab")

    def run(self) -> None:
        """Press the button."""
        self.page.locator("#run").click()


def look(reader: Reader) -> dict:
    """The four views, and a scroll."""
    page = reader.page
    page.wait_for_selector("img[src^=blob]")
    reader.views(4)
    views = {name: reader.wait(number) for name, number in FOUR.items()}
    reader.keep("load", **views)
    page.locator("img[src^=blob]").first.hover()
    page.mouse.wheel(0, -300)
    scrolled = reader.wait(0, views["axial"])
    reader.keep("scroll", axial=scrolled, coronal=reader.view(1))
    return {"studies": page.locator("#studies .v-list-item-title").all_inner_texts()}


def draw_map(reader: Reader, scan: str, model: str, threshold: str) -> dict:
    """Run an anomaly map, and use its sliders and its jump."""
    before = reader.view(0)
    reader.open(scan)
    plain = reader.wait(0, before)
    reader.choose("model", model)
    reader.says("run", "Map")
    reader.page.locator("#settings").click()
    reader.page.locator("#field-threshold input[type=number]").fill(threshold)
    reader.page.locator("#field-threshold input[type=number]").press("Tab")
    reader.run()
    reader.page.wait_for_selector("#overlay", state="visible")
    over = reader.wait(0, plain)
    reader.keep("map", plain=plain, over=over)
    reader.slider(0, "Home")
    clear = reader.wait(0, over)
    reader.slider(0, "End")
    full = reader.wait(0, clear)
    reader.slider(1, "End")
    none = reader.wait(0, full)
    reader.keep("sliders", clear=clear, full=full, none=none)
    reader.page.locator("#jump").click()
    jumped = reader.wait(0, none)
    reader.keep("jump", axial=jumped)
    return {"regions": reader.page.locator("#regions .v-list-item-title").all_inner_texts()}


def generate(reader: Reader, model: str) -> dict:
    """Ask for what is out of range, then for a brain."""
    before = reader.view(0)
    reader.choose("model", model)
    reader.says("run", "Generate")
    labels = reader.page.locator("#task [id^=field-]").evaluate_all("all => all.map(one => one.innerText)")
    helps = reader.page.locator("#field-age").get_attribute("title")
    reader.set_number("age", "500")
    reader.run()
    refused = reader.says("error", "500")
    reader.keep("refused")
    reader.page.locator(".v-snackbar button").click()
    reader.page.wait_for_selector("#error", state="detached")
    reader.set_number("age", "70")
    reader.page.locator("#field-seed input[type=number]").fill("5")
    reader.run()
    made = reader.says("shown", model_id(model))
    axial = reader.wait(0, before)
    reader.keep("brain", axial=axial, three=reader.wait(2))
    return {"refused": refused, "study": made, "labels": labels, "help": helps}


def compare(reader: Reader, scan: str, model: str) -> dict:
    """Translate a scan: it and the result side by side, which scroll together."""
    before = reader.view(0)
    reader.open(scan)
    reader.wait(0, before)
    reader.choose("model", model)
    reader.run()
    shown = reader.says("shown", " | ")
    reader.views(4)
    left, right = reader.wait(PAIR["left"]), reader.wait(PAIR["right"])
    reader.keep("pair", left=left, right=right)
    reader.page.locator("img[src^=blob]").nth(PAIR["left"]).hover()
    reader.page.mouse.wheel(0, -300)
    reader.keep("linked", left=reader.wait(PAIR["left"], left), right=reader.wait(PAIR["right"], right))
    reader.page.locator("#four").click()
    reader.page.wait_for_timeout(500)
    return {"shown": shown}


def play(reader: Reader, model: str) -> dict:
    """Make a video, go to its middle, and let it play in one large view."""
    before = reader.view(0)
    reader.choose("model", model)
    reader.says("explained", "no image")
    reader.run()
    shown = reader.says("shown", model)
    reader.views(1)
    first = reader.wait(0, before)
    reader.go_half_round(reader.frame())
    reader.keep("video", first=first, later=reader.wait(0, first))
    frames = int(reader.page.locator("#video [role=slider]").get_attribute("aria-valuemax")) + 1
    return {"shown": shown, "played": reader.play(PLAY_S), "frames": frames}


def sample(reader: Reader, twin: str, maps: str) -> dict:
    """Without a scan: a counterfactual of a sample video, side by side; then a sample brain, in four views."""
    reader.choose("model", twin)
    reader.page.locator("#sample").click()
    video = reader.says("shown", "Phantom 1")
    reader.views(1)
    before = reader.wait(0)
    reader.keep("sample", video=before)
    played = reader.play(PLAY_S)
    reader.set_number("ef", "70")
    reader.run()
    made = reader.says("shown", " | ")
    reader.views(2)
    pair = {"left": reader.wait(0), "right": reader.wait(1)}
    start = reader.frame()
    both = reader.play(PLAY_S)
    reader.go_half_round(start)  # where play stopped may be where it began, whole rounds later
    reader.keep("counterfactual", **pair, later=reader.wait(1, pair["right"]))
    reader.page.locator("#four").click()
    reader.views(1)
    reader.choose("model", maps)
    reader.page.locator("#sample").click()
    brain = reader.says("shown", "Phantom 1 for phantom_mr")
    reader.views(4)
    axial = reader.wait(0)
    reader.run()
    reader.page.wait_for_selector("#overlay", state="visible")
    reader.keep("sample_map", axial=axial)
    score = reader.page.locator("#score").text_content()
    return {"video": video, "played": played, "made": made, "both": both, "brain": brain, "score": score}


def cancel(reader: Reader, model: str) -> dict:
    """Ask for a long run and take it back."""
    reader.choose("model", model)
    reader.says("run", "Generate")
    reader.page.locator("#field-steps input[type=number]").fill("200")
    reader.page.locator("#field-num_samples input[type=number]").fill("64")
    reader.run()
    progress = reader.says("progress", "Running")
    reader.page.locator("#cancel").click()
    return {"progress": progress, "said": reader.says("error", "cancel")}


def model_id(title: str) -> str:
    """The start of the ids of a generator's studies."""
    return {"Brain MR synthesis by latent diffusion": "brain_mr_synthesis_ldm"}[title]


@contextmanager
def opened(url: str, out: str, chromium: str) -> Iterator[tuple[Reader, list[str]]]:
    """A reader before the page in a new browser, and the list of the page's errors; a failure leaves `failed.png`."""
    failed: list[str] = []
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        browser = playwright.chromium.launch_persistent_context(
            profile, executable_path=chromium, headless=True, args=FLAGS, viewport={"width": 1280, "height": 800}
        )
        page = browser.new_page()
        page.set_default_timeout(LONGEST_S * 1000)
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.goto(url)
        try:
            yield Reader(page, Path(out)), failed
        except BaseException:
            page.screenshot(path=Path(out) / "failed.png")
            raise
        browser.close()


def main(url: str, out: str, chromium: str, threshold: str) -> dict:
    """All steps."""
    with opened(url, out, chromium) as (reader, failed):
        report = {"look": look(reader)}
        report["map"] = draw_map(reader, "scan_2", "phantom_mr_anomaly_map_tiny", threshold)
        report["generate"] = generate(reader, "Brain MR synthesis by latent diffusion")
        report["play"] = play(reader, "phantom_us_video_synthesis_tiny")
        report["sample"] = sample(
            reader, "Counterfactual echocardiograms by a deep twin network", "phantom_mr_anomaly_map_tiny"
        )
        report["cancel"] = cancel(reader, "Brain MR synthesis by latent diffusion")
        reader.page.locator(".v-snackbar button").click()
        report["compare"] = compare(reader, "scan_1", "phantom_mr_translation_tiny")
    return report | {"page_errors": failed}


if __name__ == "__main__":
    print("REPORT " + json.dumps(main(*sys.argv[1:5])), flush=True)
