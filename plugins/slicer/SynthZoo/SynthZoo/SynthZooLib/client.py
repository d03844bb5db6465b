"""A SynthZoo server (MONAI Label with the zoo's app) over HTTP, with the standard library alone.

Bodies are streamed from and to disk, whatever their size. Every mistake comes as a `ZooError` of one sentence.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import threading
import uuid
from urllib.parse import quote, urlencode, urlsplit

from .errors import Cancelled, ZooError

CHUNK = 1 << 18
SECONDS_TO_CONNECT = 10
START = "monailabel start_server --app plugins/monailabel --studies FOLDER"


class ZooClient:
    """One server.

    Args:
        url: such as `http://127.0.0.1:8000`; without a scheme http is taken.
        timeout: longest silence of the server in seconds; None waits as long as a run takes.

    Raises:
        ZooError: the address cannot be one of a server.
    """

    def __init__(self, url: str, timeout: float | None = None):
        text = url.strip().rstrip("/")
        if "://" not in text:
            text = f"http://{text}"
        parts = urlsplit(text)
        try:
            self.port = parts.port
        except ValueError:
            self.port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or self.port == -1:
            raise ZooError(f"'{url}' is no address of a server: give one such as http://127.0.0.1:8000.")
        self.url, self.timeout = text, timeout
        self.host, self.secure, self.prefix = parts.hostname, parts.scheme == "https", parts.path

    # --- what the server has -----------------------------------------------------------------------------------

    def index(self) -> dict[str, dict]:
        """Every model by name, as `/zoo/index` describes it."""
        try:
            found = self._json("GET", "/zoo/index")
            return found["models"]
        except (NotFound, KeyError, TypeError):
            raise ZooError(
                f"The server at {self.url} answers, but it is not the zoo's: start it with `{START}`."
            ) from None

    def jobs(self) -> list[dict]:
        """Requests that wait, run and have ended."""
        return self._json("GET", "/zoo/jobs", timeout=SECONDS_TO_CONNECT)

    def cancel(self, job: str) -> dict:
        """Ask the server to end a job."""
        return self._json("DELETE", f"/zoo/jobs/{quote(job)}", timeout=SECONDS_TO_CONNECT)

    # --- plumbing ----------------------------------------------------------------------------------------------

    def _connect(self, timeout: float | None) -> http.client.HTTPConnection:
        make = http.client.HTTPSConnection if self.secure else http.client.HTTPConnection
        return make(self.host, self.port, timeout=timeout)

    def _json(self, method: str, path: str, body: dict | None = None, timeout: float | None = 60):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection = self._connect(timeout)
        try:
            answer = self._send(connection, method, path, data, headers)
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._silent(error) from error
        finally:
            connection.close()
        try:
            return json.loads(text)
        except ValueError:
            raise ZooError(f"The server at {self.url} gave an answer to {path} that is not JSON.") from None

    def _send(self, connection, method: str, path: str, body=None, headers=None) -> http.client.HTTPResponse:
        connection.request(method, self.prefix + path, body=body, headers=headers or {})
        answer = connection.getresponse()
        if answer.status >= 400:
            raise refusal(answer.status, answer.read(CHUNK), self.url, path)
        return answer

    def _silent(self, error: BaseException) -> ZooError:
        if isinstance(error, (socket.timeout, TimeoutError)):
            return ZooError(f"The server at {self.url} did not answer in time: see whether it is still at work.")
        return ZooError(f"No server answers at {self.url} ({error}): start it with `{START}`, or mend the address.")


class NotFound(ZooError):
    """The server has no such address or thing."""


def refusal(status: int, body: bytes, url: str, path: str) -> ZooError:
    """The server's own sentence, or one about its status."""
    try:
        detail = json.loads(body)["detail"]
        if isinstance(detail, list):  # what FastAPI says about a missing field
            detail = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in detail)
    except (ValueError, KeyError, TypeError):
        detail = ""
    if status == 409 and "cancelled" in str(detail):
        return Cancelled(str(detail))
    if status == 404:
        return NotFound(str(detail) or f"The server at {url} has no {path}.")
    if status < 500 and detail:
        return ZooError(str(detail))
    return ZooError(f"The server failed with status {status} at {path}: its log at {url}/logs/ says why.")
