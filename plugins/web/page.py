"""What stands on the page: the list of studies, the task panel, the sliders of the heat map, and the views."""

from __future__ import annotations

from trame.ui.vuetify3 import SinglePageWithDrawerLayout
from trame.widgets import client, html
from trame.widgets import vuetify3 as v


def build_page(server, layout_manager, actions) -> SinglePageWithDrawerLayout:
    """Lay the page out.

    Args:
        server: the trame server; `state` and `actions` are those of `app.Page`.
        layout_manager: places the views.
        actions: has a method per button.
    """
    with SinglePageWithDrawerLayout(server, theme="dark", width=360) as page:
        page.title.set_text("SynthZoo")
        with page.toolbar:
            v.VSpacer()
            html.Span("{{ shown }}", classes="text-body-2 mr-4", data_test="shown")
            with v.VBtnToggle(v_model=("layout",), mandatory=True, density="compact", classes="mr-2"):
                v.VBtn(icon="mdi-view-grid", value="four", data_test="four")
                v.VBtn(icon="mdi-view-split-vertical", value="pair", data_test="pair")
            v.VBtn(icon="mdi-fit-to-page-outline", click=actions.reset, title="fit the views")
        with page.drawer:
            client.Style("html { overflow: hidden; }")
            build_studies(actions)
        with page.content:
            layout_manager.initialize_layout_grid(page)
    return page


def build_studies(actions) -> None:
    """The list of studies; a click shows one."""
    with v.VList(density="compact", data_test="studies"):
        v.VListSubheader("Studies")
        with v.VListItem(
            v_for="study in studies",
            key="study.name",
            title=("study.title",),
            subtitle=("study.subtitle",),
            active=("study.name === current",),
            click=(actions.open, "[study.name]"),
            data_test=("`study-${study.name}`",),
        ):
            pass
