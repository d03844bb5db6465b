"""What the panel holds between two clicks: the server, its models, and the request that runs. Scripts use it too.

session = Session(slicer.mrmlScene)
session.connect("http://127.0.0.1:8000")
run = session.start("brain_mr_anomaly_map_manytasks", {}, slicer.util.getNode("my scan"))
run.wait()
shown = session.finish()
"""

from __future__ import annotations

from . import labels, layout, pictures, samples, sequences, stored, studies, volumes
from .batch import RUNNING, BatchRun, Tally
from .client import ZooClient
from .errors import ZooError
from .jobs import Run
from .models import Model, read_models
from .options import check_all
from .show import Shown, show_answer

WORST_FIRST = "most_anomalous_first"


class Session:
    """One server and one scene.

    Args:
        scene: the MRML scene that results go to.
        temporary: folder for files on their way; None is the system's.
    """

    def __init__(self, scene, temporary: str | None = None):
        self.scene, self.temporary = scene, temporary
        self.client: ZooClient | None = None
        self.models: dict[str, Model] = {}
        self.run: Run | None = None
        self.batch: BatchRun | None = None
        self.source = None
        self.samples: dict[str, int] = {}  # model -> how many examples of its input were opened

    def connect(self, url: str) -> dict[str, Model]:
        """Read a server's index; gives its models by name.

        Raises:
            ZooError: no address, no server, not the zoo's, no models.
        """
        self.client, self.models = None, {}
        client = ZooClient(url)
        models = read_models(client.index())
        self.client, self.models = client, models
        return models

    def expect_client(self) -> ZooClient:
        """The server.

        Raises:
            ZooError: not connected.
        """
        if self.client is None:
            raise ZooError("Not connected: give the server's address and press Connect.")
        return self.client

    @property
    def busy(self) -> bool:
        """Whether a request is on its way or waits to be shown."""
        return self.run is not None

    def start(self, model: str, values: dict, node=None, keep: bool = True, version: str = "") -> Run:
        """Send a request; watch it with `tick()`, then call `finish()`.

        Args:
            model: name.
            values: options by name; None leaves a condition out.
            node: volume node, for models that take a scan or a video; segmentation or label map, for those that take
                labels. A volume that came from the server and was not changed is named, everything else is sent, a
                video with all its frames.
            keep: the server keeps what was made: images as studies, maps as labels of their study.
            version: of the weights; "" is the newest.

        Raises:
            ZooError: not connected, a request runs already, an option is refused, no scan or one that cannot be sent.
        """
        client = self.expect_client()
        if self.run is not None:
            raise ZooError("A request is on its way: wait for it, or cancel it.")
        if model not in self.models:
            raise ZooError(f"The server has no model '{model}': it has {', '.join(self.models)}.")
        item = self.models[model]
        options = {**requested(item, values, version), "store": bool(keep)}
        image, self.source = "", None
        if item.needs_images or (item.takes_images and node is not None):
            if node is None:
                wanted = "label map or segmentation" if item.takes_labels else "scan"
                raise ZooError(
                    f"{item.title} needs a {wanted}: load one (File, Add Data) and choose it, or press Sample data."
                )
            self.source, image = node, "" if item.takes_labels else volumes.study_of(node)
        run = Run(client, model, options, image, temporary=self.temporary)
        try:
            if image:
                run.options["save_label"] = bool(keep)
            elif self.source is not None:
                run.upload = write_input(item, node, run.folder)
        except ZooError:
            run.close()
            raise
        self.run = run
        return run.start()

    def cancel(self) -> None:
        """Take the request back."""
        if self.run is not None:
            self.run.cancel()

    def finish(self) -> list[Shown]:
        """Bring the answer into the scene, or raise what went wrong; the session is free again either way.

        Raises:
            ZooError: what went wrong; `Cancelled` if it was taken back.
        """
        run = self.run
        if run is None:
            raise ZooError("No request is on its way.")
        try:
            answer = run.wait()
            source = self.source
            if source is not None and not (source.IsA("vtkMRMLVolumeNode") and self.scene.IsNodePresent(source)):
                source = None  # removed meanwhile, or a segmentation, which is no layer of the slices
            return show_answer(self.scene, answer, self.models[run.model], source)
        finally:
            run.close()
            self.run = self.source = None

    # --- a batch over the server's studies ---------------------------------------------------------------------

    def start_batch(self, model: str, values: dict, version: str = "") -> BatchRun:
        """Run a model over every study of the server; what it has done before with these values is not done again.

        Raises:
            ZooError: a value that is refused, a model that takes no image, one that is followed already.
        """
        client, item = self.expect_client(), self.models[model]
        if self.batch is not None:
            raise ZooError(f"The server is at work on its studies with {self.batch.model}: wait for it, or stop it.")
        if not item.takes_images:
            raise ZooError(f"{item.title} takes no scan, so there is nothing to do for a study of the server.")
        self.batch = BatchRun(client, model, requested(item, values, version))
        return self.batch.start()

    def follow_batch(self) -> BatchRun | None:
        """Follow the batch that the server runs, such as one that was begun before Slicer; None if it runs none."""
        if self.batch is None:
            task = next(iter(self.expect_client().batches()[-1:]), {})
            if task.get("status") in RUNNING:
                self.batch = BatchRun(self.expect_client(), task["request"]["model"]).start()
        return self.batch

    def finish_batch(self) -> Tally:
        """What the batch has done, or raise what went wrong; another one may be started either way.

        Raises:
            ZooError: what went wrong; `Cancelled` if it was stopped.
        """
        if self.batch is None:
            raise ZooError("No batch is on its way.")
        batch, self.batch = self.batch, None
        return batch.wait()

    # --- the server's studies --------------------------------------------------------------------------------------

    def studies(self) -> list[tuple[str, str]]:
        """(id, line for a list) of each study of the server."""
        return stored.listed(self.expect_client().studies())

    def open_study(self, study: str) -> Shown:
        """Bring a study of the server with its labels and map into the scene."""
        return studies.open_study(self.scene, self.expect_client(), study)

    def open_sample(self, model: str) -> Shown:
        """Bring a seeded example of what a model takes into the scene; each call brings another one.

        Raises:
            ZooError: not connected, a model that needs no image, a server that has no example for it.
        """
        client, item = self.expect_client(), self.models[model]
        if not item.takes_images:
            raise ZooError(f"{item.title} needs no image: press {item.verb}.")
        seed = self.samples.get(model, 0)
        shown = samples.open_sample(self.scene, client, item, seed)
        self.samples[model] = seed + 1
        return shown

    def open_worst(self) -> Shown:
        """Open the scan with the highest score that has no final label yet."""
        return self.open_study(self.expect_client().next_study(WORST_FIRST))


def write_input(item: Model, node, folder: str) -> str:
    """Write what a model shall work on into a folder, a video with all its frames, a flat image as PNG; gives the path.

    Raises:
        ZooError: it cannot be sent.
    """
    if item.takes_labels:
        return labels.write_labels(node, folder)
    if not layout.is_flat(node):
        return volumes.write_volume(node, folder)
    return (pictures.write_picture if sequences.browser_of(node) is None else sequences.write)(node, folder)


def requested(item: Model, values: dict, version: str = "") -> dict:
    """The checked values that differ from the model's defaults, and the version if one is named.

    The index has the defaults of the newest weights; others may have their own, so with a version all values are sent.

    Raises:
        ZooError: a value that is refused.
    """
    options = check_all(item.options, values)
    options = {name: value for name, value in options.items() if version or value != item.options[name].default}
    return {**options, **({"model_version": version} if version else {})}


def is_local(url: str) -> bool:
    """Whether an address is on this machine, so that asking it costs no time."""
    return any(name in url for name in ("//127.", "//localhost", "//[::1]"))
