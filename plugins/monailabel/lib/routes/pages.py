"""Pages of the server itself, its routes and its log: no script, nothing from another server, no absolute path."""

# ruff: noqa: B008 - FastAPI reads a route's parameters from calls in its defaults

from __future__ import annotations

import html
import re
import shutil
import subprocess
from collections import deque
from pathlib import Path

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC, User

from lib.paths import without_paths
from lib.routes.common import ADMIN, Context, http_errors

MOST_LINES = 10_000
STYLE = "body{font:15px/1.5 sans-serif;margin:2em}code,pre{font:13px/1.5 monospace}td{padding:0 1em}"


def add_routes(router: APIRouter, context: Context) -> None:
    """Add `/`, `/docs`, `/logs/` and `/logs/gpu`."""

    @router.get("/", include_in_schema=False)
    @router.get("/docs", include_in_schema=False)
    @http_errors
    def list_routes(request: Request) -> Response:
        schema = request.app.openapi()
        rows = []
        for path, operations in sorted(schema["paths"].items()):
            for method, said in operations.items():
                names = ", ".join(item["name"] for item in said.get("parameters", []))
                call = f"<code>{method.upper()} {escape(path)}</code>"
                cells = (call, escape(said.get("summary", "")), escape(names))
                rows.append(f"<tr><td>{'</td><td>'.join(cells)}</td></tr>")
        more = "<p><a href='/openapi.json'>openapi.json</a> says all, <a href='/logs/'>logs</a> is what happened.</p>"
        return page(schema["info"]["title"], f"{more}<table>{''.join(rows)}</table>")

    @router.get("/logs/", tags=["Others"], summary="The end of the server's log")
    @http_errors
    def show_log(
        lines: int = 300, html: bool = True, text: bool = False, refresh: int = 0, user: User = Depends(RBAC(ADMIN))
    ) -> Response:
        count = min(lines, MOST_LINES) if lines > 0 else MOST_LINES
        try:
            with open(
                Path(settings.MONAI_LABEL_APP_DIR) / "logs" / "app.log", encoding="utf-8", errors="replace"
            ) as file:
                said = "".join(deque(file, count))
        except OSError:
            raise LookupError("this server keeps no log file: it writes to where it was started.") from None
        said = re.sub(r"[^\S\n]|[\x00-\x09\x0b-\x1f\x7f]", " ", without_paths(said))
        if text or not html:
            return PlainTextResponse(said)
        return page("Log", f"<pre>{escape(said)}</pre>", min(max(refresh, 3), 3600) if refresh else 0)

    @router.get("/logs/gpu", tags=["Others"], summary="What nvidia-smi says")
    @http_errors
    def show_gpu(user: User = Depends(RBAC(ADMIN))) -> Response:
        command = shutil.which("nvidia-smi")
        if command is None:
            raise LookupError("this server has no nvidia-smi, so nothing is known of a GPU.")
        done = subprocess.run([command], capture_output=True, encoding="utf-8", errors="replace", timeout=30)
        return PlainTextResponse(done.stdout)


def escape(text: str) -> str:
    """Text as HTML."""
    return html.escape(text)


def page(title: str, body: str, refresh: int = 0) -> HTMLResponse:
    """A page without scripts, which its headers forbid too."""
    again = f"<meta http-equiv='refresh' content='{refresh}'>" if refresh else ""
    head = f"<meta charset='utf-8'><title>{escape(title)}</title><style>{STYLE}</style>{again}"
    policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    text = f"<!doctype html><html><head>{head}</head><body><h1>{escape(title)}</h1>{body}</body></html>"
    return HTMLResponse(text, headers=policy)
