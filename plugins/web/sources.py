"""Where studies come from: a folder of results, or a server that also makes new ones."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from SynthZooLib.answer import Answer, Case, Output
from SynthZooLib.client import ZooClient
from SynthZooLib.errors import ZooError
from SynthZooLib.jobs import Run
from SynthZooLib.models import Model, read_models
from SynthZooLib.png import READERS
from SynthZooLib.samples import sample_name
from SynthZooLib.stored import fetch_study, map_sidecar
from SynthZooLib.videos import is_video
from SynthZooLib.volumes import told

VOLUMES = (".nii.gz", ".nii", ".nrrd", ".mha")
PICTURES = tuple(READERS)
DRAWN = ("preview", "_overlay")  # ends of the names of pictures that show results, and are none
KINDS = {"heatmap": "heat_map", "confidence": "confidence", "dseg": "label", "mask": "label"}  # else "image"


def stem(name: str) -> str | None:
    """The name without the ending of a volume or a picture, or None for any other file."""
    return next((name[: -len(end)] for end in (*VOLUMES, *PICTURES) if name.lower().endswith(end)), None)


def subtitle(case: Case) -> str:
    """What the list says below a study's name: requested, measured, and the score of its map."""
    return told(case.sidecar) or ("phantom" if "sample_of" in case.sidecar else "scan")


class Folder:
    """The results of `python -m monai.bundle run`, or scans, below a folder.

    Args:
        folder: the run's output_dir.
        images: folder of the scans that the results belong to; a map is then shown over its scan.

    Raises:
        ZooError: a folder that does not exist or holds neither a volume nor a picture.
    """

    def __init__(self, folder: str, images: str | None = None):
        self.folder = Path(folder)
        self.where = str(self.folder.resolve())
        self.own = images_of(self.folder)
        self.scans = images_of(Path(images)) if images else {}
        if not self.own:
            known = ", ".join((*VOLUMES, *PICTURES))
            raise ZooError(f"{folder} has no volume or picture ({known}): name the output_dir of a run.")

    def models(self) -> dict[str, Model]:
        """None: a folder can only be looked at."""
        return {}

    def studies(self) -> list[Case]:
        """One study per case of a run, and every other volume or picture as a scan, by name."""
        found: dict[str, Case] = {}
        for path in self.own.values():
            in_case = case_of(path, self.folder)
            name = in_case or stem(path.name)
            case = found.setdefault(name, Case(name, {}, {}))
            kind = KINDS.get(stem(path.name).rsplit("_", 1)[-1], "image") if in_case else "image"
            case.outputs.setdefault(kind, Output(str(path)))
            for sidecar in sorted(path.parent.glob(f"{name}_*.json")) if in_case and not case.sidecar else ():
                case.sidecar = json.loads(sidecar.read_text(encoding="utf-8"))
        for case in found.values():
            source = case.sidecar.get("input", {}).get("name", "")
            scan = self.scans.get(source) or self.own.get(source)
            if scan and ("image" not in case.outputs or "heat_map" in case.outputs):
                case.outputs["image"] = Output(str(scan))
        return [found[name] for name in sorted(found)]

    def fetch(self, case: Case) -> None:
        """Nothing to do: the files are here."""


class Server:
    """A server with the zoo's app: the studies of its datastore, and its models.

    Args:
        url: such as `http://127.0.0.1:8000`.

    Raises:
        ZooError: no server of the zoo answers there.
    """

    def __init__(self, url: str):
        self.client = ZooClient(url)
        self.where = self.client.url
        self.index = read_models(self.client.index())
        self.temporary = tempfile.TemporaryDirectory(prefix="synthzoo_web_")
        self.cases: dict[str, Case] = {}
        self.labels: dict[str, dict] = {}  # that the server keeps: study -> tag -> what it says of it

    def models(self) -> dict[str, Model]:
        """The server's models by name."""
        return self.index

    def studies(self) -> list[Case]:
        """The images of the datastore, each with what this page knows of it already."""
        stored = self.client.studies()
        for name, entry in stored.items():
            sidecar = entry["image"].get("info", {}).get("sidecar", {})
            case = self.cases.setdefault(name, Case(name, dict(sidecar), {}, name))
            self.labels[name] = entry.get("labels", {})
            if "heat_map" not in case.outputs:  # else the map of this page is newer
                case.sidecar.update(map_sidecar(self.labels[name]))
        return [case for name, case in self.cases.items() if name in stored or not case.study]

    def fetch(self, case: Case) -> None:
        """Bring a study's image here, and the maps and labels that the server keeps of it."""
        if not case.study:
            return
        folder = Path(self.temporary.name) / "studies" / case.study
        folder.mkdir(parents=True, exist_ok=True)
        kept = self.labels.get(case.name, {})
        case.outputs |= fetch_study(self.client, case.study, kept, str(folder), have=case.outputs)

    def start(self, model: str, options: dict, case: Case | None) -> Run:
        """Send a request; see `SynthZooLib.jobs.Run` for its progress and answer.

        Args:
            model: name.
            options: checked values.
            case: the study that it works on, or None.
        """
        upload = ""
        if case and not case.study:  # what the server does not have is sent
            own = case.outputs.get("label") if self.index[model].takes_labels else None
            upload = (own or case.outputs.get("image") or case.outputs["video"]).path
        study = case.study if case else ""
        return Run(self.client, model, options, study, upload, temporary=self.temporary.name).start()

    def sample(self, model: str) -> Case:
        """A seeded example of what a model takes, as a study of this page; each call gives another one.

        Raises:
            ZooError: the server has none.
        """
        seed = sum(case.sidecar.get("sample_of") == model for case in self.cases.values())
        folder = Path(self.temporary.name) / "samples" / model / str(seed)
        folder.mkdir(parents=True, exist_ok=True)
        path = self.client.fetch_example(model, seed, str(folder))
        name = sample_name(self.index[model], seed)
        self.cases[name] = Case(name, {"sample_of": model}, {"video" if is_video(path) else "image": Output(path)})
        return self.cases[name]

    def take(self, answer: Answer, case: Case | None) -> Case:
        """Keep an answer's results; gives the study of the first one.

        A map is added to the study that it belongs to; an image is a study of its own.
        """
        for packed in Path(self.temporary.name).glob("*/*.zip"):
            packed.unlink()
        made = []
        for result in answer.cases:
            if result.study:
                result.name = result.study
                self.cases[result.study] = result
                made.append(result)
            elif case:
                case.outputs.update(result.outputs)
                case.sidecar.update(result.sidecar)
                made.append(case)
            elif {"image", "video"} & set(result.outputs):  # which the server was told not to keep
                result.name = f"{answer.model} {len(self.cases) + 1}"
                self.cases[result.name] = result
                made.append(result)
        if not made:
            raise ZooError(f"{answer.model} gave nothing that can be shown here: see the log of {self.where}.")
        return made[0]


def images_of(folder: Path) -> dict[str, Path]:
    """File name -> path of every volume and picture below a folder, without pictures that show results.

    Raises:
        ZooError: there is no such folder.
    """
    if not folder.is_dir():
        raise ZooError(f"{folder} is no folder: name the output_dir of a run.")
    found = [path for path in sorted(folder.rglob("*")) if stem(path.name) and path.is_file()]
    solid = {path.parent for path in found if path.name.lower().endswith(VOLUMES)}

    def is_drawn(path: Path) -> bool:
        of_a_volume = path.parent in solid and case_of(path, folder) != ""
        return path.name.lower().endswith(PICTURES) and (of_a_volume or stem(path.name).endswith(DRAWN))

    return {path.name: path for path in found if not is_drawn(path)}


def case_of(path: Path, folder: Path) -> str:
    """The case of a run that a file belongs to, "" for none.

    It is `sub-0001` of `sub-0001/sub-0001_T1w.nii.gz`, or in the BIDS layout with `anat` between.
    """
    parents = path.relative_to(folder).parts[:-1]
    return next((up for up in reversed(parents) if path.name.startswith(f"{up}_")), "")
