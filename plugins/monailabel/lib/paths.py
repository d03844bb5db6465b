"""Where this server's files lie, which is nobody's matter: sentences and logs that go out hold no absolute path."""

from __future__ import annotations

import os
import re
import tempfile

_known: dict[str, str] = {}  # folder as it may be spelled -> what it is


def know_folder(name: str, folder: str | os.PathLike) -> None:
    """Take note of a folder of this server.

    Args:
        name: what it is, such as "studies".
        folder: addresses of remote servers are no folders.
    """
    text = os.fspath(folder)
    if text and not text.startswith(("http://", "https://")):
        for spelled in (text, os.path.abspath(text), os.path.realpath(text)):
            if len(spelled.strip("./\\")) > 0:
                _known.setdefault(spelled.rstrip("/\\"), name)


def without_folders(sentence: str) -> str:
    """A sentence in which files of known folders, and uploads, are called by their names alone."""
    know_folder("temporary", tempfile.gettempdir())
    for folder, name in sorted(_known.items(), key=lambda item: -len(item[0])):
        scratch = r"(?:synthzoo_[^/\\\s]+[/\\])?" if name == "temporary" else ""
        sentence = re.sub(rf"(?<![\w./\\]){re.escape(folder)}[/\\]{scratch}", "", sentence)
    return sentence


def without_paths(text: str) -> str:
    """A log in which known folders are called by what they are, and of any other absolute path the last part stays."""
    know_folder("temporary", tempfile.gettempdir())
    know_folder("home", os.path.expanduser("~"))
    text = text.replace("file://", "")
    for folder, name in sorted(_known.items(), key=lambda item: -len(item[0])):
        text = re.sub(rf"(?<![\w./\\]){re.escape(folder)}(?![\w.-])", f"<{name}>", text)
    tops = "|".join(re.escape(name) for name in os.listdir(os.path.abspath(os.sep)))
    absolute = rf"(?<![\w.>:/\\])(?:/(?:{tops})(?![\w.-])|[A-Za-z]:[\\/])[^\s'\"<>|,;()\[\]{{}}]*"
    return re.sub(absolute, lambda found: ".../" + re.split(r"[/\\]", found[0].rstrip("/\\"))[-1], text)
