"""What came back: the zip of `/zoo/run`, unpacked."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass, field

from .errors import ZooError

LARGEST_TEXT = 50_000_000


@dataclass
class Output:
    """A file of one kind: image, label, heat_map, video or table.

    Args:
        path: on this machine.
        names: name -> value of a label map.
    """

    path: str
    names: dict = field(default_factory=dict)


@dataclass
class Case:
    """One result.

    Args:
        name: of the result.
        sidecar: what stands beside it: request, seed, score, regions, measured values.
        outputs: by kind.
        study: its id in the datastore, or "".
    """

    name: str
    sidecar: dict
    outputs: dict
    study: str = ""


@dataclass
class Answer:
    """All results of a request.

    Args:
        model, task: what ran.
        cases: the results.
        seconds: that it took.
        job: its id.
    """

    model: str
    task: str
    cases: list
    seconds: float = 0.0
    job: str = ""


def unpack(path: str, folder: str) -> Answer:
    """Unpack an answer into a folder; names in it that would leave the folder are refused.

    Raises:
        ZooError: it is no answer of the zoo, or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo("answer.json").file_size > LARGEST_TEXT:
                raise ValueError
            told = json.loads(archive.read("answer.json"))
            studies = told.get("studies") or []
            cases = []
            for number, case in enumerate(told["cases"]):
                outputs = {}
                for kind, file in case["files"].items():
                    inside = os.path.realpath(os.path.join(folder, file["path"]))
                    if not inside.startswith(os.path.realpath(folder) + os.sep):
                        raise ValueError
                    outputs[kind] = Output(archive.extract(file["path"], folder), dict(file.get("label_names") or {}))
                study = (studies[number].get("id") if number < len(studies) else "") or ""
                cases.append(Case(case["name"], case["sidecar"], outputs, study))
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ZooError(f"The server's answer is no answer of the zoo ({type(error).__name__}): update both.") from error
    except OSError as error:
        raise ZooError(f"{folder} cannot be written ({error.strerror}): free some space.") from error
    return Answer(told["model"], told.get("task", ""), cases, float(told.get("seconds") or 0), told.get("job", ""))
