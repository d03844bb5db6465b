"""The page's state and what its buttons do."""

from __future__ import annotations

import asyncio
import time

from SynthZooLib import heat
from SynthZooLib.errors import ZooError
from SynthZooLib.scores import lines_of
from trame.app import TrameApp
from trame_server.utils.asynchronous import create_task

from plugins.web import panel
from plugins.web.page import build_page
from plugins.web.sources import subtitle
from plugins.web.views import FOUR, LEFT, PAIR, RIGHT, Views

POLL_S = 0.5


class Page(TrameApp):
    """Studies of a folder or of a server, in Slicer's views, and the server's models.

    There is one scene per process: two browsers on one address see the same page.

    Args:
        source: `sources.Folder` or `sources.Server`.
        server: trame server; None makes one.
    """

    def __init__(self, source, server=None):
        super().__init__(server=server)
        self.source, self.views = source, Views(self.server)
        self.studies: dict = {}
        self.models: dict = {}
        self.regions: list = []
        self.request = None
        self.playback = 0
        self.state.update(
            {
                "trame__title": "SynthZoo",
                "studies": [],
                "current": "",
                "beside": None,
                "shown": "",
                "note": source.where,
                "layout": FOUR,
                "frame": 0,
                "frames": 0,
                "fps": 0.0,
                "flat": False,
                "playing": False,
                "has_map": False,
                "maps": [],
                "map": 0,
                "regions": [],
                "classes": [],
                "score": "",
                "opacity": heat.OPACITY,
                "map_threshold": heat.THRESHOLD,
                "models": [],
                "model": "",
                "verb": "",
                "explained": "",
                "takes_images": False,
                "optional": False,
                "use_study": True,
                "settings": None,
                "fields": [],
                "values": {},
                "given": {},
                "busy": False,
                "progress": "",
                "error": "",
            }
        )
        changes = self.state.change
        changes("layout")(lambda **_: self._set_layout())
        changes("model")(lambda **_: self._choose_model())
        changes("opacity", "map_threshold")(lambda **_: self._adjust_map())
        changes("map")(lambda map, **_: self.views.choose_map(int(map)))
        changes("frame")(lambda frame, **_: self.views.set_frame(int(frame)))
        changes("playing")(self._play)
        changes("beside")(self._open_beside)
        self.ui = build_page(self.server, self.views.layout, self)
        # A view knows its size only once the browser has told it.
        self.server.controller.on_client_connected.add(lambda *_, **__: self.views.reset())
        self._list_studies()
        self._list_models()
        try:
            if self.studies:
                self._show(next(iter(self.studies)))
        except ZooError as error:
            self.state.error = str(error)

    # --- studies ---------------------------------------------------------------------------------------------------

    def _list_studies(self) -> None:
        self.studies = {study.name: study for study in self.source.studies()}
        self.state.studies = [{"name": name, "subtitle": subtitle(study)} for name, study in self.studies.items()]

    async def refresh(self) -> None:
        """Read the list of studies again."""
        await self._guarded(self._refresh)

    async def _refresh(self) -> None:
        with self.state:
            self._list_studies()

    async def open(self, name: str) -> None:
        """Show a study on the left."""
        with self.state:
            self.state.error = ""
        await self._guarded(self._open, name, LEFT)

    async def _open(self, name: str, group: int) -> None:
        await asyncio.to_thread(self.source.fetch, self.studies[name])
        with self.state:
            self._show(name, group)

    def _show(self, name: str, group: int = LEFT) -> None:
        study = self.studies[name]
        self.source.fetch(study)
        again = group == LEFT and name == self.state.current
        model = self.models.get(study.sidecar.get("bundle", ""))
        shown = self.views.show(study, group, model.outputs if model else None)
        if not again:  # a new map of the study leaves the slices where they are
            self.views.reset()
        if not again:
            self.state.update({"playing": False, "frame": 0})
        self._set_video()
        if group == LEFT:
            self.regions = shown.regions
            score = study.sidecar.get("score")
            self.state.update(
                {
                    "current": name,
                    "has_map": shown.heat is not None,
                    "maps": [{"title": node.GetName(), "value": number} for number, node in enumerate(shown.maps)],
                    "map": 0,
                    "score": "" if score is None else f"score {score:.3g}",
                    "regions": [region.text() for region in shown.regions],
                    "classes": lines_of(shown.scores),
                }
            )
            if shown.heat is not None:
                self.state.map_threshold = heat.threshold_of(study.sidecar)
        self._adjust_map()
        self._set_title()

    def _set_video(self) -> None:
        """What the page says of the video that is to be seen, and its frame."""
        self.state.update({"flat": self.views.is_flat(), "frames": self.views.frames()})
        self.state.fps = round(self.views.rate(), 3)
        self.views.set_frame(int(self.state.frame))

    def _set_title(self) -> None:
        beside = self.state.beside if self.state.layout == PAIR else None
        self.state.shown = f"{self.state.current} | {beside}" if beside else self.state.current

    def _set_layout(self) -> None:
        self.views.set_layout(self.state.layout)
        self._set_video()
        self._set_title()

    async def _open_beside(self, beside, **_) -> None:
        there = self.views.shown.get(RIGHT)
        if beside in self.studies and (there is None or there.name != beside):
            await self._guarded(self._open, beside, RIGHT)

    # --- a video ----------------------------------------------------------------------------------------------------

    async def _play(self, playing, **_) -> None:
        """Let the video run by the clock until it is stopped: a frame that could not be drawn in time is left out."""
        self.playback += 1  # ends what an earlier click began
        this, began = self.playback, time.monotonic()
        while playing and self.state.playing and this == self.playback and self.state.frames > 1:
            await asyncio.sleep(max(0.0, began + 1 / self.state.fps - time.monotonic()))
            passed = int((time.monotonic() - began) * self.state.fps)
            if passed and self.state.playing and this == self.playback:
                began += passed / self.state.fps
                with self.state:
                    self.state.frame = (int(self.state.frame) + passed) % self.state.frames

    # --- the heat map ------------------------------------------------------------------------------------------------

    def _adjust_map(self) -> None:
        self.views.adjust_map(float(self.state.opacity), float(self.state.map_threshold))

    def jump(self, number: int = 0) -> None:
        """Bring the slices to a region of the map, the worst one first."""
        if number < len(self.regions):
            self.views.jump(self.regions[number].at)

    def reset(self) -> None:
        """Fit the views."""
        self.views.reset()

    # --- tasks -------------------------------------------------------------------------------------------------------

    def _list_models(self) -> None:
        self.models = self.source.models()
        self.state.models = [{"name": name, "title": model.title} for name, model in self.models.items()]
        if self.models:
            self.state.model = next(iter(self.models))
            self._choose_model()

    def _choose_model(self) -> None:
        model = self.models.get(self.state.model)
        if model is None:
            return
        self.state.values, self.state.given = panel.start_values(model)
        self.state.fields = panel.panel_fields(model)
        self.state.verb = model.verb
        self.state.takes_images = model.takes_images
        self.state.optional = model.takes_images and not model.needs_images
        self.state.use_study = not (self.state.optional and model.takes_labels)  # what it makes has labels itself
        alone = "For the study that is shown; without a study it generates one."
        given = "For the study that is shown." if model.needs_images else alone
        self.state.explained = given if model.takes_images else "Needs no image."

    async def sample(self) -> None:
        """Show a seeded example of what the model takes, so that it can be tried without a scan."""
        with self.state:
            self.state.error = ""
        await self._guarded(self._sample)

    async def _sample(self) -> None:
        made = await asyncio.to_thread(self.source.sample, self.state.model)
        with self.state:
            self._list_studies()
            self._show(made.name)

    def run(self) -> None:
        """Send what the panel requests, show progress, then show the result."""
        if not self.state.busy:
            # Not awaited: until an answer to a click is there, the browser's next clicks are not read.
            create_task(self._guarded(self._run))

    async def _run(self) -> None:
        name = self.state.model
        model = self.models[name]
        requested = panel.request_of(model, self.state.values, self.state.given)
        wanted = model.takes_images and (model.needs_images or self.state.use_study)
        study = self.studies.get(self.state.current) if wanted else None
        with self.state:
            self.state.update({"busy": True, "error": ""})
        try:
            self.request = await asyncio.to_thread(self.source.start, name, requested, study)
            while not self.request.finished:
                with self.state:
                    self.state.progress = self.request.tick(0).text
                await asyncio.sleep(POLL_S)
            answer = self.request.wait()
            made = self.source.take(answer, study)
        finally:
            with self.state:
                self.state.update({"busy": False, "progress": ""})
        with self.state:
            self._list_studies()
            if study is None or made is study:
                self._show(made.name)
            else:
                self._show(study.name)
                self.state.beside, self.state.layout = made.name, PAIR
                self._show(made.name, RIGHT)
            self.state.note = f"{model.title}: {answer.seconds:.1f} s on the server"

    def cancel(self) -> None:
        """Take the request back."""
        if self.request is not None:
            self.request.cancel()

    async def _guarded(self, function, *args) -> None:
        """Say a mistake on the page instead of in the log."""
        try:
            await function(*args)
        except ZooError as error:
            with self.state:
                self.state.error = str(error)
