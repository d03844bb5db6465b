"""The MONAI Label app of the zoo: `monailabel start_server --app plugins/monailabel --studies DIR`.

`--conf KEY VALUE`, each optional:
    models      NAME,NAME or all: bundles of bundle_index.json (all)
    zoo         address or folder of a release, for bundles that are not here
    index       path of bundle_index.json (that of the checkout, else that of the zoo)
    bundle_dir  folder of the bundles (`bundles` beside the index)
    models_dir  folder of fine-tuned weights (`model` in this app)
    memory_gb   limit for weights and work of all models together (none)
    parallel    requests that run at once (1)
    device      cpu, cuda, cuda:1 ... (what each bundle says)
    upload_mb   largest request that is taken (2000)
    queue_max   requests that may wait; a further one gets 429 at once (16)
    cost_max    million voxels that a request may bring through a network, over its calls and samples (100)
    public      yes lets other machines connect, and needs a token; without it the server listens on the loopback only
    token       what every request has to carry, 16 characters or more (none)
    hosts       NAME,NAME: names beside localhost by which the server may be called (none)
    origins     ORIGIN,ORIGIN: other pages that may use the server, such as https://viewer.example (none)
"""

from __future__ import annotations

import logging

from lib.batch import BatchRunner
from lib.datastore import SafeDatastore
from lib.guard import guard_server, read_guard
from lib.infers import BundleInfer
from lib.listening import listen_on_loopback
from lib.paths import know_folder
from lib.routes import install_routes
from lib.service import Service
from lib.sessions import SafeSessions
from lib.strategies import AtRandom, Generate, MostAnomalousFirst
from lib.trainers import BundleTrainer, trainable
from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.tasks.activelearning.first import First

from synthzoo.bundle.outputs import kinds_shown_as
from synthzoo.io.files import sweep, sweep_scratch
from synthzoo.serving.store import share_heap

logger = logging.getLogger(__name__)


class SynthZooApp(MONAILabelApp):
    """Serves every bundle of the index: generation, image to image, anomaly maps, fine-tuning.

    Args:
        app_dir: this folder.
        studies: folder of the datastore, or the address of a remote one.
        conf: see the module's text.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]):
        conf = dict(conf or {})
        read_guard(conf)  # a mistake there ends the start
        share_heap()
        sweep_scratch()
        for name, folder in (("app", app_dir), ("studies", studies)):
            know_folder(name, folder)
        self.service = Service(app_dir, studies, conf)
        for weights in self.service.weights_folders():
            sweep(weights)
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="SynthZoo",
            description="Generation of medical images and maps of what looks unlike healthy anatomy",
            version=self.service.version,
        )
        self.service.attach(self.datastore())
        self._batch_infer = BatchRunner(self.service)

    def init_datastore(self):
        """A local datastore that survives a kill; remote ones as MONAI Label has them."""
        if self.studies.startswith(("http://", "https://")):
            return super().init_datastore()
        return SafeDatastore(
            self.studies,
            auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
        )

    def _load_sessions(self, load=False):
        """Sessions whose ids are no paths."""
        if not load:
            return None
        sessions = SafeSessions(settings.MONAI_LABEL_SESSION_PATH, settings.MONAI_LABEL_SESSION_EXPIRY)
        know_folder("sessions", sessions.store_path)
        return sessions

    def init_infers(self):
        """One task per bundle."""
        return {name: BundleInfer(self.service, bundle) for name, bundle in self.service.store.bundles.items()}

    def init_trainers(self):
        """One task per bundle whose training configs read scans of one's own."""
        bundles = self.service.store.bundles.items()
        return {name: BundleTrainer(self.service, bundle) for name, bundle in bundles if trainable(bundle)}

    def init_strategies(self):
        """Generators as strategies, the worst scan first, and the plain ones."""
        strategies = {}
        bundles = self.service.store.bundles
        if any(kinds_shown_as("overlay", bundle.outputs) for bundle in bundles.values()):
            strategies["most_anomalous_first"] = MostAnomalousFirst(self.service)
        for name, bundle in bundles.items():
            if not bundle.needs_images and kinds_shown_as("image", bundle.outputs):
                strategies[f"generate_{name}"] = Generate(self.service, bundle)
        return {**strategies, "random": AtRandom(), "first": First()}

    def infer(self, request, datastore=None):
        """Run one request; as MONAI Label's, but an image is an id of the datastore, never a path of the request."""
        return self.service.infer(request)

    def on_init_complete(self):
        """Put our routes before the stock ones, and go on with a batch that a kill has interrupted."""
        super().on_init_complete()
        listen_on_loopback(self.conf)
        install_routes(self)
        guard_server(self.conf, self.service.upload_bytes)
        self._batch_infer.resume()
