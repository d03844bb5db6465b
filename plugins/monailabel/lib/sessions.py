"""Sessions: uploads that a client works on without storing them, each in a folder of its own for an hour at most.

`<id>/scan` holds what was sent, and an id is one that this server made. MONAI Label's own sessions take any path as an
id, and a file inside the folder says which file is read; a folder that was not made here is none of ours.
"""

from __future__ import annotations

import json
import re
import shutil
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from monailabel.utils.sessions import SessionInfo, Sessions

from lib.uploads import keep_files
from synthzoo.errors import StorageError
from synthzoo.io.files import atomic_folder, sweep, write_text

ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SCAN, META = "scan", "meta.info"


class SafeSessions(Sessions):
    """The sessions of one folder.

    Args:
        store_path: the folder; "" is MONAI Label's, below the home folder.
        expiry: seconds that an unused session stays at most.
    """

    def __init__(self, store_path: str = "", expiry: int = 3600):
        super().__init__(store_path, expiry)
        sweep(self.store_path)

    def create(self, files: Sequence[tuple[str | None, BinaryIO]], expiry: int = 0) -> tuple[str, SessionInfo]:
        """Keep the files of a new session.

        Args:
            files: name and content of each; several are the slices of one series.
            expiry: seconds that it stays unused; 0 takes the longest.

        Raises:
            StorageError: the disk is full.
        """
        session_id = str(uuid.uuid4())
        seconds = min(expiry, self.expiry) if expiry > 0 else self.expiry
        with atomic_folder(Path(self.store_path) / session_id) as folder:
            (folder / SCAN).mkdir()
            keep_files(files, folder / SCAN)
            now = int(time.time())
            (folder / META).write_text(described(self._info(session_id, now, now, seconds)), encoding="utf-8")
        return session_id, self.get_session(session_id)

    def get_session(self, session_id: str, update_ts: bool = True, fetch_cache: bool = True) -> SessionInfo | None:
        """The session of an id, None without one; `image` is its one file, or the folder of its files."""
        folder = self._folder(session_id)
        if folder is None:
            return None
        said: dict[str, Any] = {}
        with suppress(OSError, ValueError, RecursionError):
            read = json.loads((folder / META).read_text(encoding="utf-8"))
            said = read if isinstance(read, dict) else {}
        now = int(time.time())
        times = {}
        for key in ("create_ts", "last_access_ts", "expiry"):
            value = said.get(key)
            times[key] = value if isinstance(value, int) and 0 <= value < 2**40 else None
        created = times["create_ts"] or int(folder.stat().st_mtime)
        used = now if update_ts else min(times["last_access_ts"] or created, now)
        info = self._info(session_id, created, used, min(times["expiry"] or self.expiry, self.expiry))
        files = [path for path in (folder / SCAN).iterdir() if path.is_file() and not path.is_symlink()]
        if not files:
            return None
        info.image = str(files[0] if len(files) == 1 else folder / SCAN)
        if update_ts:
            with suppress(StorageError, OSError):
                write_text(folder / META, described(info))
        return info

    def remove_session(self, session_id: str) -> None:
        """Remove a session of this server; anything else stays."""
        folder = self._folder(session_id)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def remove_expired(self) -> int:
        """Remove the sessions that nobody has used for their time; gives how many."""
        count = 0
        with suppress(OSError):
            for name in [path.name for path in Path(self.store_path).iterdir()]:
                info = self.get_session(name, update_ts=False)
                if info is not None and info.last_access_ts + info.expiry < time.time():
                    self.remove_session(name)
                    count += 1
        return count

    def add_session(self, data_file: str, expiry: int = 0, uncompress: bool = False, session_id: Any = None) -> Any:
        """Not offered: a path of the server is no upload."""
        raise NotImplementedError("sessions are made of uploads")

    def _folder(self, session_id: Any) -> Path | None:
        """The folder of a session that was made here."""
        if not isinstance(session_id, str) or not ID.fullmatch(session_id):
            return None
        folder = Path(self.store_path) / session_id
        whole = not folder.is_symlink() and (folder / SCAN).is_dir() and not (folder / SCAN).is_symlink()
        return folder if whole else None

    def _info(self, session_id: str, created: int, used: int, expiry: int) -> SessionInfo:
        folder = Path(self.store_path) / session_id
        info = SessionInfo({"name": session_id, "path": str(folder), "image": str(folder / SCAN), "meta": {}})
        info.create_ts, info.last_access_ts, info.expiry = created, used, expiry
        return info


def described(info: SessionInfo) -> str:
    """A session as other MONAI Label servers that share the folder read it."""
    return info.to_str()


def shown(info: SessionInfo) -> dict[str, Any]:
    """A session as a client sees it, without the server's paths."""
    return {**info.to_json(), "path": "", "image": Path(info.image).name}
