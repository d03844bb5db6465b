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
    model,
    scoring,
    session,
    train,
    wsi_infer,
)

from lib.routes import batches, examples, images, inference, training, zoo
from lib.routes.common import Context

SUBJECTS = (inference, batches, images, training, zoo, examples)
REPLACED = {
    infer: [("POST", "/infer/{model}")],
    activelearning: [("POST", "/activelearning/{strategy}")],
    batch_infer: [("GET", "/batch/infer"), ("POST", "/batch/infer/{model}"), ("DELETE", "/batch/infer")],
    datastore: [("PUT", "/datastore/"), ("PUT", "/datastore/image"), ("PUT", "/datastore/label")],
    session: [("PUT", "/session/")],
    train: [("POST", "/train/{model}"), ("POST", "/train/")],
}
# Stock routes with no use here that would run a request's own folder as Python, or change released weights.
REMOVED = {
    model: [("PUT", "/model/{model}"), ("DELETE", "/model/{model}")],
    scoring: [("POST", "/scoring/"), ("POST", "/scoring/{method}")],
    wsi_infer: [("POST", "/infer/wsi/{model}"), ("POST", "/infer/wsi_v2/{model}")],
}


def build_router(app: Any) -> APIRouter:
    """The routes of all subjects over one app."""
    context, router = Context(app), APIRouter()
    for subject in SUBJECTS:
        subject.add_routes(router, context)
    return router


def install_routes(app: Any) -> None:
    """Put our routes first and take the stock ones of the same address away, so that each has one owner."""
    server = getattr(sys.modules.get("monailabel.app"), "app", None)
    if server is None:
        return
    gone = {**REPLACED, **REMOVED}
    for module, replaced in gone.items():
        left = [r for r in module.router.routes if not any(m in r.methods and r.path == p for m, p in replaced)]
        module.router.routes[:] = left
        getattr(module.router, "_mark_routes_changed", lambda: None)()
    flat = [pair for pairs in gone.values() for pair in pairs]
    routes = server.router.routes
    routes[:] = [r for r in routes if not any(m in (getattr(r, "methods", 0) or ()) and r.path == p for m, p in flat)]
    before = len(routes)
    server.include_router(build_router(app))
    ours = routes[before:]
    del routes[before:]
    routes[:0] = ours
    getattr(server.router, "_mark_routes_changed", lambda: None)()
    server.openapi_schema = None
