"""What stands on the page: the list of studies, the task panel, the heat map's sliders, and the views."""

from __future__ import annotations

from trame.ui.vuetify3 import SinglePageWithDrawerLayout
from trame.widgets import client, html
from trame.widgets import vuetify3 as v

STYLE = """
html { overflow: hidden; }
.v-navigation-drawer__content { padding: 0 12px 12px 12px; }
.studies { max-height: 26vh; overflow-y: auto; }
.v-slider.v-input { margin-inline: 0; }
.v-toolbar-title { flex: none; }
"""


def build_page(server, layout_manager, actions) -> SinglePageWithDrawerLayout:
    """Lay the page out.

    Args:
        server: the trame server; its state is that of `app.Page`.
        layout_manager: places the views.
        actions: has a method per button.
    """
    with SinglePageWithDrawerLayout(server, theme="dark", width=370) as page:
        page.title.set_text("SynthZoo")
        with page.toolbar:
            html.Span("Research only, not for diagnosis", classes="text-caption text-medium-emphasis text-no-wrap ml-4")
            v.VSpacer()
            html.Span("{{ shown }}", classes="text-body-2 text-truncate mx-4", id="shown")
            with v.VBtnToggle(v_model=("layout",), mandatory=True, density="compact", classes="mr-2"):
                v.VBtn(
                    icon=("flat ? 'mdi-square-outline' : 'mdi-view-grid'",),
                    value="four",
                    id="four",
                    title="one study: three slices and 3D of a volume, one large view of a 2D image or a video",
                )
                v.VBtn(icon="mdi-view-split-vertical", value="pair", id="pair", title="two studies side by side")
            v.VBtn(icon="mdi-fit-to-page-outline", click=actions.reset, title="fit the views")
        with page.drawer:
            client.Style(STYLE)
            build_messages()
            build_studies(actions)
            build_video()
            build_overlay(actions)
            build_classes()
            build_task(actions)
        with page.content, v.VContainer(fluid=True, classes="pa-0 fill-height"):
            layout_manager.initialize_layout_grid(page)
        page.footer.clear()
        with page.footer:
            html.Span("{{ note }}", classes="text-caption", id="note")
    return page


def build_messages() -> None:
    """The last mistake, in one sentence, until it is closed or the next request is sent."""
    with v.VSnackbar(
        model_value=("!!error",),
        update_modelValue="error = ''",
        timeout=-1,
        color="error",
        location="bottom left",
    ):
        html.Span("{{ error }}", id="error")
        with html.Template(v_slot_actions=True):
            v.VBtn(icon="mdi-close", size="small", click="error = ''")


def build_studies(actions) -> None:
    """The list of studies; a click shows one."""
    with html.Div(classes="d-flex align-center"):
        v.VListSubheader("Studies")
        v.VSpacer()
        v.VBtn(icon="mdi-refresh", size="x-small", variant="text", click=actions.refresh, title="read the list again")
    with v.VList(density="compact", classes="studies pa-0", id="studies"):
        v.VListItem(
            v_for="study in studies",
            key="study.name",
            title=("study.name",),
            subtitle=("study.subtitle",),
            active=("study.name === current",),
            click=(actions.open, "[study.name]"),
            rounded=True,
        )
    v.VSelect(
        v_model=("beside",),
        v_show="layout === 'pair'",
        items=("studies.map(study => study.name)",),
        label="beside it",
        density="compact",
        hide_details=True,
        clearable=True,
        classes="mt-2",
        id="beside",
    )


def build_video() -> None:
    """Play, pause, and the frames of a video."""
    with html.Div(v_show="frames > 1", id="video"):
        v.VListSubheader("Video")
        with html.Div(classes="d-flex align-center"):
            v.VBtn(
                icon=("playing ? 'mdi-pause' : 'mdi-play'",),
                size="small",
                variant="tonal",
                click="playing = !playing",
                id="play",
                title=("playing ? 'pause' : 'play'",),
                classes="mr-3",
            )
            v.VSlider(
                v_model=("frame",),
                min=0,
                max=("frames - 1",),
                step=1,
                density="compact",
                hide_details=True,
            )
        html.Span(
            "frame {{ Number(frame) + 1 }} of {{ frames }}, {{ fps }} a second", classes="text-caption", id="frame"
        )


def build_overlay(actions) -> None:
    """Opacity and threshold of the heat map, its score and its regions."""
    with html.Div(v_show="has_map", id="overlay"):
        v.VListSubheader("Heat map")
        v.VSelect(
            v_if="maps.length > 1",
            v_model=("map",),
            items=("maps",),
            density="compact",
            hide_details=True,
            id="map",
        )
        row("opacity", "opacity", 0, 1, 0.05)
        row("threshold", "map_threshold", 0, 1, 0.01)
        with html.Div(classes="d-flex align-center ga-2 mt-1"):
            v.VBtn("Jump to the worst region", size="small", click=(actions.jump, "[0]"), id="jump")
            html.Span("{{ score }}", classes="text-caption", id="score")
        with v.VList(density="compact", classes="studies pa-0", id="regions"):
            v.VListItem(
                v_for="(region, number) in regions",
                key="number",
                title=("region",),
                click=(actions.jump, "[number]"),
                rounded=True,
            )


def build_classes() -> None:
    """What the image shows, by the probability of each class."""
    with html.Div(v_show="classes.length", id="classes"):
        v.VListSubheader("Classes")
        with html.Div(
            v_for="(line, number) in classes", key="number", style="font-family: monospace; white-space: pre"
        ):
            html.Span("{{ line }}", classes="text-caption")


def row(label: str, name: str, low: float, high: float, step: float) -> None:
    """A slider with its name in front and its value behind."""
    with html.Div(classes="d-flex align-center"):
        html.Span(label, classes="text-caption", style="width: 80px")
        v.VSlider(
            v_model=(name,),
            min=low,
            max=high,
            step=step,
            density="compact",
            hide_details=True,
            id=f"slider-{name}",
        )
        html.Span(f"{{{{ Number({name}).toFixed(2) }}}}", classes="text-caption ml-2", style="width: 32px")


def build_task(actions) -> None:
    """The models of the server, the options of the chosen one, and the button."""
    with html.Div(v_show="models.length", id="task"):
        v.VListSubheader("Task")
        v.VSelect(
            v_model=("model",),
            items=("models",),
            item_title="title",
            item_value="name",
            density="compact",
            hide_details=True,
            id="model",
        )
        with html.Div(classes="d-flex align-center my-1"):
            html.Span("{{ explained }}", id="explained", classes="text-caption text-medium-emphasis")
            v.VSpacer()
            v.VBtn(
                "Sample data",
                v_show="takes_images",
                click=actions.sample,
                size="small",
                variant="outlined",
                id="sample",
                title="show a phantom of the kind that the model takes; press again for another one",
            )
        v.VSwitch(
            v_model=("use_study",),
            v_show="optional",
            label="work on the study that is shown",
            color="primary",
            density="compact",
            hide_details=True,
            id="use-study",
        )
        build_fields("true")
        # In the state, since another layout of the views draws the page again.
        with v.VExpansionPanels(
            variant="accordion", v_model=("settings",), v_show="fields.some(field => !field.asked)"
        ):
            with v.VExpansionPanel(elevation=0):
                v.VExpansionPanelTitle("Settings", classes="px-0 py-1", style="min-height: 32px", id="settings")
                with v.VExpansionPanelText(eager=True):
                    build_fields("false")
        with html.Div(classes="d-flex align-center ga-2 mt-2"):
            v.VBtn("{{ verb }}", color="primary", click=actions.run, disabled=("busy",), id="run")
            v.VBtn("Cancel", v_show="busy", click=actions.cancel, variant="outlined", id="cancel")
            html.Span("{{ progress }}", classes="text-caption", id="progress")
        v.VProgressLinear(indeterminate=True, v_show="busy", color="primary", classes="mt-1")


def build_fields(asked: str) -> None:
    """The fields of what is wanted ("true") or of the settings ("false"), drawn as `panel.panel_fields` says."""
    flush = "flushState('values')"
    with html.Div(
        v_for=f"field in fields.filter(field => field.asked === {asked})",
        key="model + field.name",
        title=("field.help",),
        classes="mt-1",
        id=("`field-${field.name}`",),
    ):
        with html.Div(classes="d-flex align-center"):
            v.VCheckbox(
                v_if="field.optional",
                v_model="given[field.name]",
                update_modelValue="flushState('given')",
                density="compact",
                hide_details=True,
                style="flex: none",
            )
            html.Span("{{ field.label }}", classes="text-caption")
            v.VSpacer()
            with html.Div(v_if="field.widget === 'slider' || field.widget === 'number'", style="width: 110px"):
                v.VTextField(
                    v_model="values[field.name]",
                    update_modelValue=flush,
                    type="number",
                    min=("field.minimum",),
                    max=("field.maximum",),
                    step=("field.step",),
                    disabled=("!given[field.name]",),
                    density="compact",
                    variant="underlined",
                    hide_details=True,
                )
            with v.VBtnToggle(
                v_if="field.widget === 'buttons'",
                v_model="values[field.name]",
                update_modelValue=flush,
                disabled=("!given[field.name]",),
                density="compact",
                mandatory=True,
            ):
                v.VBtn(
                    "{{ choice }}",
                    v_for="choice in field.enum",
                    key="choice",
                    value=("choice",),
                    size="small",
                )
            with html.Div(v_if="field.widget === 'menu'", style="width: 180px"):
                v.VSelect(
                    v_model="values[field.name]",
                    update_modelValue=flush,
                    items=("field.enum",),
                    disabled=("!given[field.name]",),
                    density="compact",
                    variant="underlined",
                    hide_details=True,
                )
            with html.Div(v_if="field.widget === 'text' && field.examples.length", style="width: 220px"):
                v.VCombobox(
                    v_model="values[field.name]",
                    update_modelValue=flush,
                    items=("field.examples",),
                    maxlength=("field.longest",),
                    disabled=("!given[field.name]",),
                    density="compact",
                    variant="underlined",
                    hide_details=True,
                )
            with html.Div(v_if="field.widget === 'text' && !field.examples.length", style="width: 220px"):
                v.VTextField(
                    v_model="values[field.name]",
                    update_modelValue=flush,
                    maxlength=("field.longest",),
                    disabled=("!given[field.name]",),
                    density="compact",
                    variant="underlined",
                    hide_details=True,
                )
            v.VSwitch(
                v_if="field.widget === 'switch'",
                v_model="values[field.name]",
                update_modelValue=flush,
                density="compact",
                hide_details=True,
            )
        v.VSlider(
            v_if="field.widget === 'slider'",
            v_model="values[field.name]",
            update_modelValue=flush,
            min=("field.minimum",),
            max=("field.maximum",),
            step=("field.step",),
            disabled=("!given[field.name]",),
            density="compact",
            hide_details=True,
        )
