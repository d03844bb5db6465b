"""Our HTTP routes before the stock ones: checked, with mistakes as one sentence, and off the event loop.

The stock server runs an inference inside its event loop, so that nothing else is answered meanwhile; it answers a
user's mistake with 500; and it takes any path of the server as an image. These routes have the same addresses and
parameters; `zoo` adds some of our own. One module a subject, each with `add_routes(router, context)`.
"""

from __future__ import annotations

import sys
from typing import Any

from fastapi import APIRouter
from monailabel.endpoints import (
    activelearning,
    batch_infer,
    datastore,
    infer,
    info,
    logs,
    model,
    ohif,
    proxy,
    scoring,
    session,
    train,
    wsi_infer,
)

from lib.errors import answer_errors
from lib.routes import batches, examples, images, inference, pages, stock, stored, training, zoo
from lib.routes.common import Context

SUBJECTS = (inference, batches, images, stored, training, zoo, examples, pages, stock)
STOCK = (info, model, infer, wsi_infer, batch_infer, train, activelearning, scoring, datastore, logs, ohif, session)
REPLACED = (
    ("POST", "/infer/{model}"),
    ("POST", "/activelearning/{strategy}"),
    ("GET", "/batch/infer"),
    ("POST", "/batch/infer/{model}"),
    ("DELETE", "/batch/infer"),
    *((method, "/datastore/") for method in ("GET", "PUT", "DELETE")),
    *((method, f"/datastore/{what}") for method in ("HEAD", "GET", "PUT", "DELETE") for what in ("image", "label")),
    *((method, f"/datastore/{what}/info") for method in ("GET", "PUT") for what in ("image", "label")),
    ("PUT", "/datastore/updatelabelinfo"),
    ("GET", "/datastore/dataset"),
    ("PUT", "/session/"),
    ("GET", "/session/{session_id}"),
    ("DELETE", "/session/{session_id}"),
    ("POST", "/train/{model}"),
    ("POST", "/train/"),
    ("POST", "/reload"),
    ("GET", "/logs/"),
    ("GET", "/logs/gpu"),
    ("GET", "/"),
    ("GET", "/docs"),
)
# Stock routes with no use here that would run a request's own folder as Python, or change released weights.
REMOVED = (
    ("PUT", "/model/{model}"),
    ("DELETE", "/model/{model}"),
    ("POST", "/scoring/"),
    ("POST", "/scoring/{method}"),
    ("POST", "/infer/wsi/{model}"),
    ("POST", "/infer/wsi_v2/{model}"),
)
# A viewer of DICOMweb archives, which loads fonts from another server and has no use over a folder of files.
OF_REMOTE = (("GET", "/ohif/{path:path}"),)


def build_router(app: Any) -> APIRouter:
    """The routes of all subjects over one app."""
    context, router = Context(app), APIRouter()
    for subject in SUBJECTS:
        subject.add_routes(router, context)
    gone = {*REPLACED, *REMOVED, *(() if app.service.is_remote else OF_REMOTE)}
    router.include_router(stock.kept_routes(STOCK, gone))
    return router


def install_routes(app: Any) -> None:
    """Put our routes and the stock ones that stay in the place of the stock ones, so that each has one owner."""
    server = getattr(sys.modules.get("monailabel.app"), "app", None)
    if server is None:
        return
    ours = build_router(app)
    # Without a remote archive the proxy has nobody to hand requests on to.
    emptied = STOCK if app.service.is_remote else (*STOCK, proxy)
    owned = {(method, route.path) for module in emptied for route in module.router.routes for method in route.methods}
    for module in emptied:
        module.router.routes.clear()
        getattr(module.router, "_mark_routes_changed", lambda: None)()
    owned |= {*REPLACED}
    routes = server.router.routes
    routes[:] = [r for r in routes if not any((m, r.path) in owned for m in getattr(r, "methods", None) or ())]
    before = len(routes)
    server.include_router(ours)
    added = routes[before:]
    del routes[before:]
    routes[:0] = added
    getattr(server.router, "_mark_routes_changed", lambda: None)()
    server.openapi_schema = None
    answer_errors(server)
    server.middleware_stack = server.build_middleware_stack()
