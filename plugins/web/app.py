"""The page's state and what its buttons do."""

from __future__ import annotations

from trame.app import TrameApp

from plugins.web.page import build_page
from plugins.web.views import Views


class Page(TrameApp):
    """Studies of a folder or a server, in Slicer's views.

    Args:
        studies: what the list shows.
        server: trame server; None makes one.
    """

    def __init__(self, studies, server=None):
        super().__init__(server=server)
        self.views = Views(self.server)
        self.studies = {study.name: study for study in studies}
        self.state.update(
            {
                "trame__title": "SynthZoo",
                "studies": [{"name": s.name, "title": s.name, "subtitle": ", ".join(s.files)} for s in studies],
                "current": "",
                "shown": "",
                "layout": "four",
            }
        )
        self.state.change("layout")(lambda layout, **_: self.views.set_layout(layout))
        self.ui = build_page(self.server, self.views.layout, self)
        # A view knows its size only once the browser has told it.
        self.server.controller.on_client_connected.add(lambda *_, **__: self.views.reset())
        self.open(next(iter(self.studies)))

    def open(self, name: str) -> None:
        """Show a study."""
        study = self.studies[name]
        self.state.current = name
        node = self.views.app.io_manager.load_volumes(str(study.files["image"]))[0]
        self.views.show(node)
        self.views.reset()
        self.state.shown = name

    def reset(self) -> None:
        """Fit the views."""
        self.views.reset()
