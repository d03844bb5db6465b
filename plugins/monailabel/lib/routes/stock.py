"""Stock routes that stay, run by threads, and those of them that left something behind: reload and the archive."""

# ruff: noqa: B008 - FastAPI reads a route's parameters from calls in its defaults

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute
from monailabel.endpoints.user.auth import RBAC, User

from lib.line import off_the_loop
from lib.routes.common import ANNOTATOR, USER, Context, http_errors

CHUNK = 1 << 20


def add_routes(router: APIRouter, context: Context) -> None:
    """Add `/reload` and `/datastore/dataset`, with the stock parameters and answers."""
    service = context.service

    @router.post("/reload", include_in_schema=False)
    @context.files.heavy()
    @http_errors
    def reload(user: User = Depends(RBAC(USER))) -> dict:
        # The stock one forgets the app, and the next request makes a second one beside the first and its threads.
        if hasattr(service.datastore, "refresh"):
            service.datastore.refresh()
        return {}

    @router.get("/datastore/dataset", tags=["Datastore"], summary="Images with final labels as a ZIP archive")
    @http_errors
    def dataset(limit_cases: int | None = None, user: User = Depends(RBAC(ANNOTATOR))) -> StreamingResponse:
        cases = service.datastore.datalist()
        if not cases:
            raise LookupError("no image has a final label yet: the archive would be empty.")
        cases = cases[: limit_cases if limit_cases and limit_cases > 0 else None]
        files = [(f"{key}/{Path(path).name}", Path(path)) for case in cases for key, path in case.items()]
        texts = {"metadata.json": json.dumps(service.datastore.json(), default=str)}
        headers = {"Content-Disposition": 'attachment; filename="dataset.zip"'}
        return StreamingResponse(stream_zip(files, texts), media_type="application/zip", headers=headers)


def stream_zip(files: Iterable[tuple[str, Path]], texts: dict[str, str]) -> Iterator[bytes]:
    """The bytes of a zip as they come about: nothing of it lies on the disk or in memory.

    Args:
        files: name in the zip and path of each file.
        texts: name in the zip and content of further ones.
    """
    outlet = Outlet()
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED) as archive:
        for name, path in files:
            with open(path, "rb") as source, archive.open(name, "w", force_zip64=True) as member:
                while chunk := source.read(CHUNK):
                    member.write(chunk)
                    yield outlet.take()
        for name, text in texts.items():
            archive.writestr(name, text)
    yield outlet.take()


class Outlet(io.RawIOBase):
    """A file that keeps only what was not taken yet."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        """It is there to be written."""
        return True

    def write(self, data: Any) -> int:
        """Keep a piece."""
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def take(self) -> bytes:
        """What was written since."""
        data, self._parts = b"".join(self._parts), []
        return data


def kept_routes(modules: Iterable[Any], gone: Collection[tuple[str, str]]) -> APIRouter:
    """The routes of stock modules but those that are `gone`, as (method, path), each run by a thread."""
    router = APIRouter()
    for route in [route for module in modules for route in module.router.routes if isinstance(route, APIRoute)]:
        if any((method, route.path) in gone for method in route.methods):
            continue
        router.add_api_route(
            route.path,
            off_the_loop(route.endpoint),
            methods=list(route.methods),
            tags=route.tags,
            summary=route.summary,
            responses=route.responses,
            deprecated=route.deprecated,
            include_in_schema=route.include_in_schema,
            name=route.name,
            response_model=None,
        )
    return router
