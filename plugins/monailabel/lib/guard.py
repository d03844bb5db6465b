"""Who may speak to the server: no page of another origin, no name that was not given, and a token where it is public.

A page that a browser shows from anywhere can send requests to the loopback, and a name of its own may resolve to it, so
listening on the loopback alone protects nothing. Every request, to stock routes too, passes here first:

- `Host` is the loopback, an address where the server is public, or a name of `--conf hosts`;
- `Origin`, which browsers send along, is the server's own or one of `--conf origins`;
- with `--conf token` a request carries it as `Authorization: Bearer TOKEN` or as the cookie `synthzoo_token`;
- a body of files (multipart) is at most `--conf upload_mb` long, any other at most JSON_BYTES, and JSON is plain
  (`plain_json`): what is no file is held in memory and read by the thread that answers everything.
"""

from __future__ import annotations

import hmac
import http.cookies
import ipaddress
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from fastapi import HTTPException, Request

from lib.plain_json import plain_json
from synthzoo.errors import UserError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

JSON_BYTES = 1_000_000
MOST_FIELDS = 20
COOKIE = "synthzoo_token"
SHORTEST_TOKEN = 16


class Guard:
    """ASGI middleware around the whole server.

    Args:
        app: what is guarded.
        public: whether other machines may connect.
        hosts: names beside the loopback's by which the server is called.
        origins: origins of other pages that may speak to it, such as "https://viewer.example".
        token: what a request has to carry; empty for none.
        body_bytes: limit of any body.
    """

    def __init__(
        self,
        app: App,
        public: bool = False,
        hosts: tuple[str, ...] = (),
        origins: tuple[str, ...] = (),
        token: str = "",
        body_bytes: int = 2_000_000_000,
    ):
        self.app, self.public, self.token, self.body_bytes = app, public, token, body_bytes
        self.hosts = {"localhost", *(host.lower() for host in hosts)}
        self.origins = {origin.lower().rstrip("/") for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is refused, hand on the rest."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        refused = self.refusal(headers, scope.get("method", "GET"))
        if refused:
            await answer(scope, send, *refused)
            return
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        has_files = kind == "multipart/form-data"
        limit = self.body_bytes if has_files else JSON_BYTES
        too_large = (
            f"the upload is larger than {limit / 1e6:g} MB; --conf upload_mb of the server sets what is accepted."
            if has_files
            else f"the body has more than the {limit} bytes that are accepted of one without files."
        )
        length = headers.get("content-length", "")
        if length and (not length.isdecimal() or int(length) > limit):
            await drain(receive)
            await answer(scope, send, 413, too_large)
            return
        if "json" in kind and scope["type"] == "http":
            receive, refused = await read_json(receive)
            if refused:
                await answer(scope, send, *refused)
                return
        state = {"bytes": 0, "answered": False}

        async def counted() -> MutableMapping[str, Any]:
            message = await receive()
            state["bytes"] += len(message.get("body", b""))
            if state["bytes"] > limit:
                raise HTTPException(status_code=413, detail=too_large)  # routes of FastAPI answer with it themselves
            return message

        async def watched(message: MutableMapping[str, Any]) -> None:
            state["answered"] = True
            await send(message)

        try:
            await self.app(scope, counted, watched)
        except HTTPException:
            if not state["answered"]:
                await answer(scope, send, 413, too_large)

    def refusal(self, headers: Mapping[str, str], method: str) -> tuple[int, str] | None:
        """Status and sentence for a request that is not answered; None for one that is."""
        host = headers.get("host", "")
        if not self.knows(host):
            remedy = "start the server with --conf hosts NAME to be called by it"
            return 403, f"the server is not called '{host[:100]}'; {remedy}."
        origin = headers.get("origin", "").lower().rstrip("/")
        own = origin and urlsplit(origin).netloc == host.lower()
        allowed = own or origin in self.origins
        foreign = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        if (origin and not allowed) or (foreign and not allowed):
            shown = origin or headers.get("referer", "another site")
            remedy = "start the server with --conf origins ORIGIN to allow it"
            return 403, f"pages of '{shown[:100]}' may not use this server; {remedy}."
        if self.token and method != "OPTIONS" and not self.carries_token(headers):
            return 401, "this server wants a token: send it as 'Authorization: Bearer TOKEN'."
        return None

    def knows(self, host: str) -> bool:
        """Whether a `Host` header names this server."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self.hosts:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or self.public

    def carries_token(self, headers: Mapping[str, str]) -> bool:
        """Whether a request carries the token, compared in constant time."""
        scheme, _, value = headers.get("authorization", "").partition(" ")
        found = [value.strip()] if scheme.lower() == "bearer" else []
        try:
            cookies = http.cookies.SimpleCookie(headers.get("cookie", ""))
        except http.cookies.CookieError:
            cookies = http.cookies.SimpleCookie()
        found += [cookies[COOKIE].value] if COOKIE in cookies else []
        return any(hmac.compare_digest(value.encode(), self.token.encode()) for value in found)


async def drain(receive: Receive) -> None:
    """Pass over a body: a client reads the answer only when it has sent everything."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return


async def read_json(receive: Receive) -> tuple[Receive, tuple[int, str] | None]:
    """A whole body of JSON as a `receive` that gives it again, and status and sentence where it is refused."""
    parts: list[bytes] = []
    more, length = True, 0
    while more:
        message = await receive()
        if message["type"] != "http.request":
            break
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
        length += len(parts[-1])
        if length > JSON_BYTES:
            return receive, (413, f"the body is longer than the {JSON_BYTES} bytes that are taken.")
    body = b"".join(parts)
    try:
        if body.strip():
            plain_json(body, "the body")
    except UserError as error:
        return receive, (400, str(error))
    given = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> MutableMapping[str, Any]:
        return given.pop() if given else await receive()

    return again, None


async def answer(scope: Scope, send: Send, status: int, sentence: str) -> None:
    """Send one sentence in the form of FastAPI's errors; a websocket is closed."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": sentence[:100]})
        return
    body = json.dumps({"detail": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"connection", b"close")] if status == 413 else []
    headers += [(b"www-authenticate", b"Bearer")] if status == 401 else []
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def is_public(conf: Mapping[str, str]) -> bool:
    """Whether `--conf public yes` stands there."""
    return str(conf.get("public", "")).lower() in ("yes", "true", "1")


def read_guard(conf: Mapping[str, str]) -> dict[str, Any]:
    """The settings of `Guard` from `--conf`.

    Raises:
        UserError: a public server without a token, or a token that is too short.
    """
    token = str(conf.get("token", ""))
    if is_public(conf) and not token:
        raise UserError(
            "--conf public yes lets other machines in: give a token too, --conf token and 16 or more characters."
        )
    if token and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token):
        raise UserError(f"--conf token: {SHORTEST_TOKEN} or more letters, digits and signs without blanks are needed.")
    listed = {key: tuple(part for part in str(conf.get(key, "")).split(",") if part) for key in ("hosts", "origins")}
    return {"public": is_public(conf), "token": token, **listed}


def bound_forms() -> None:
    """Bound what a form holds in memory beside its files: Starlette takes 1,000 fields of 1 MB each by default."""
    Request.form.__kwdefaults__.update(max_fields=MOST_FIELDS)


def guard_server(conf: Mapping[str, str], body_bytes: int) -> None:
    """Put the guard around the running server: outermost, so that no route is reached without it."""
    server = getattr(sys.modules.get("monailabel.app"), "app", None)
    if server is not None:
        bound_forms()
        server.middleware_stack = Guard(server.middleware_stack, body_bytes=body_bytes, **read_guard(conf))
