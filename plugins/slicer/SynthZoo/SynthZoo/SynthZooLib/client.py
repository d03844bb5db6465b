"""A SynthZoo server (MONAI Label with the zoo's app) over HTTP, with the standard library alone.

Bodies are streamed from and to disk, whatever their size. Every mistake comes as a `ZooError` of one sentence.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
from urllib.parse import quote, unquote, urlencode, urlsplit

from .errors import Busy, Cancelled, NotFound, ZooError
from .multipart import Form

CHUNK = 1 << 18
SECONDS_TO_CONNECT = 10
SECONDS_TO_STOP_A_BATCH = 90  # the server waits for the study in work, up to a minute
START = "monailabel start_server --app plugins/monailabel --studies FOLDER"


class ZooClient:
    """One server.

    Args:
        url: such as `http://127.0.0.1:8000`; without a scheme http is taken. A server that wants a token is given as
            `http://TOKEN@host:8000`; the token goes into a header and stands in no message.

    Raises:
        ZooError: the address cannot be one of a server.
    """

    def __init__(self, url: str):
        text = url.strip()
        text = (text if "://" in text else f"http://{text}").rstrip("/")
        try:
            parts = urlsplit(text)
            self.host, self.port, token = parts.hostname, parts.port, parts.password or parts.username
        except ValueError:
            self.host = None
        if not self.host or parts.scheme not in ("http", "https") or re.search(r"\s", text):
            raise ZooError(f"'{url}' is no address of a server: give one such as http://127.0.0.1:8000.")
        shown = text.replace(f"{parts.netloc.rpartition('@')[0]}@", "", 1) if "@" in parts.netloc else text
        self.url, self.secure, self.prefix = shown, parts.scheme == "https", parts.path
        self.headers = {"Authorization": f"Bearer {unquote(token)}"} if token else {}

    # --- what the server has -----------------------------------------------------------------------------------

    def index(self) -> dict:
        """Every model by name, as `/zoo/index` describes it."""
        try:
            return self._json("GET", "/zoo/index", timeout=SECONDS_TO_CONNECT)["models"]
        except (NotFound, KeyError, TypeError):
            raise ZooError(f"The server at {self.url} answers, but it is not the zoo's: start `{START}`.") from None

    def studies(self) -> dict:
        """The datastore: id of an image -> {"image": {"info", ...}, "labels": {tag: {"info", ...}}}."""
        return self._json("GET", "/datastore/?output=all")["objects"]

    def next_study(self, strategy: str) -> str:
        """The id that a strategy such as `most_anomalous_first` names next.

        Raises:
            ZooError: it names none, for instance since every scan has a final label.
        """
        found = self._json("POST", f"/activelearning/{quote(strategy)}", {})
        if not isinstance(found, dict) or not found.get("id"):
            raise ZooError(f"The strategy {strategy} names no study: every one has its final label, or there is none.")
        return found["id"]

    def fetch_image(self, study: str, folder: str) -> str:
        """Download an image of the datastore; gives its path."""
        return self._download(f"/datastore/image?{urlencode({'image': study})}", folder)

    def fetch_label(self, study: str, tag: str, folder: str) -> str:
        """Download a label of an image; gives its path."""
        return self._download(f"/datastore/label?{urlencode({'label': study, 'tag': tag})}", folder)

    def fetch_example(self, model: str, seed: int, folder: str) -> str:
        """Download a seeded example of what a model takes, a phantom; gives its path.

        Raises:
            NotFound: there is no such model, or it has no example.
        """
        return self._download(f"/zoo/example/{quote(model)}?{urlencode({'seed': seed})}", folder)

    # --- jobs --------------------------------------------------------------------------------------------------

    def run(self, model: str, options: dict, folder: str, image: str = "", upload: str = "", watch=None) -> str:
        """Run a model; gives the path of the zip with every output. Blocks: see `jobs.Run` for a panel.

        Args:
            model: a name of the index.
            options: values by name; `job` gives the request a name of ours.
            folder: where the zip goes.
            image: id of an image of the datastore.
            upload: path of an image file to send instead.
            watch: called as watch("sends" or "receives", bytes, of bytes); what it raises ends the transfer.

        Raises:
            Cancelled: the job was cancelled.
            ZooError: what the server refused, or that it is not there.
        """
        form = Form({"params": json.dumps(options)}, {"file": upload} if upload else {})
        path = f"/zoo/run/{quote(model)}" + (f"?{urlencode({'image': image})}" if image else "")
        return self._download(path, folder, form, watch)

    def jobs(self) -> list:
        """Requests that wait, run and have ended."""
        return self._json("GET", "/zoo/jobs", timeout=SECONDS_TO_CONNECT)

    def cancel(self, job: str) -> dict:
        """Ask the server to end a job."""
        return self._json("DELETE", f"/zoo/jobs/{quote(job)}", timeout=SECONDS_TO_CONNECT)

    # --- a batch ------------------------------------------------------------------------------------------------

    def start_batch(self, model: str, options: dict) -> dict:
        """Begin a model over every study; gives the server's task, see `batch.BatchRun`.

        Raises:
            Busy: a batch runs already; the server runs one at a time.
            ZooError: what the server refused.
        """
        return self._json("POST", f"/batch/infer/{quote(model)}", options)

    def batches(self) -> list:
        """The server's batches since it started, the last one last: id, status, request, total, done, details ..."""
        try:
            return self._json("GET", "/batch/infer?all=true", timeout=SECONDS_TO_CONNECT)
        except NotFound:
            return []

    def stop_batch(self) -> None:
        """Ask the server to end its batch; what is done stays."""
        self._json("DELETE", "/batch/infer", timeout=SECONDS_TO_STOP_A_BATCH)

    # --- plumbing ----------------------------------------------------------------------------------------------

    def _connect(self, timeout: float | None) -> http.client.HTTPConnection:
        """A connection; what waits for a run waits without limit, and `jobs.Run` looks meanwhile who is alive."""
        make = http.client.HTTPSConnection if self.secure else http.client.HTTPConnection
        connection = make(self.host, self.port, timeout=SECONDS_TO_CONNECT)
        connection.connect()
        connection.sock.settimeout(timeout)
        return connection

    def _json(self, method: str, path: str, body: dict | None = None, timeout: float = 60):
        data = None if body is None else json.dumps(body).encode()
        headers = {**self.headers, **({"Content-Type": "application/json"} if body is not None else {})}
        try:
            connection = self._connect(timeout)
            try:
                connection.request(method, self.prefix + path, body=data, headers=headers)
                answer = self._expect(connection.getresponse(), path)
                text = answer.read()
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise self._silent(error) from error
        try:
            return json.loads(text)
        except ValueError:
            raise NotFound(f"The server at {self.url} gave an answer to {path} that is not JSON.") from None

    def _download(self, path: str, folder: str, form: Form | None = None, watch=None) -> str:
        watch = watch or (lambda *_: None)
        try:
            connection = self._connect(None)
            try:
                if form is None:
                    connection.request("GET", self.prefix + path, headers=self.headers)
                else:
                    self._post(connection, path, form, watch)
                answer = self._expect(connection.getresponse(), path)
                return save_body(answer, folder, watch)
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise self._silent(error) from error

    def _post(self, connection: http.client.HTTPConnection, path: str, form: Form, watch) -> None:
        connection.putrequest("POST", self.prefix + path)
        for key, value in {**self.headers, **form.headers()}.items():
            connection.putheader(key, value)
        connection.endheaders()
        sent = 0
        try:
            for chunk in form.chunks(CHUNK):
                connection.send(chunk)
                sent += len(chunk)
                watch("sends", sent, form.length)
        except (BrokenPipeError, ConnectionResetError):
            return  # the server has refused already; its answer says why

    def _expect(self, answer: http.client.HTTPResponse, path: str) -> http.client.HTTPResponse:
        if answer.status >= 400:
            raise refusal(answer.status, answer.read(CHUNK), self.url, path)
        return answer

    def _silent(self, error: BaseException) -> ZooError:
        if isinstance(error, (socket.timeout, TimeoutError)):
            return ZooError(f"The server at {self.url} did not answer in time: see whether it is still at work.")
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return ZooError(f"No server answers at {self.url} ({reason}): start `{START}`, or mend the address.")


def save_body(answer: http.client.HTTPResponse, folder: str, watch) -> str:
    """Write an answer's body into a folder under the name that the server gives; gives the path.

    Raises:
        ZooError: the disk is full, or the folder cannot be written.
        http.client.IncompleteRead: the server went away.
    """
    said = answer.headers.get_filename() or "answer"
    path = os.path.join(folder, re.sub(r"[^A-Za-z0-9._-]+", "_", os.path.basename(said)).lstrip(".") or "answer")
    total, got = answer.length or 0, 0
    try:
        file = open(path, "wb")  # noqa: SIM115 - reading may fail too, with another sentence
    except OSError as error:
        raise ZooError(f"{path} cannot be written ({error.strerror}): choose another temporary folder.") from error
    with file:
        while True:
            chunk = answer.read(CHUNK)
            if not chunk:
                break
            try:
                file.write(chunk)
            except OSError as error:
                raise ZooError(f"{path} cannot be written ({error.strerror}): free some space.") from error
            got += len(chunk)
            watch("receives", got, total)
    if got < total:
        raise http.client.IncompleteRead(b"", total - got)
    return path


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
    if status == 401:
        return ZooError(
            f"The server at {url} wants a token: give its address as http://TOKEN@{url.partition('://')[2]}."
        )
    if status == 429:
        return Busy(str(detail) or f"The server at {url} is at work already.")
    if (status < 500 or status == 507) and detail:  # 507: its disk is full or read-only
        return ZooError(str(detail))
    return ZooError(f"The server failed with status {status} at {path}: its log at {url}/logs/ says why.")
