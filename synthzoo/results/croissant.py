"""Croissant metadata of a data set: what its files are, with checksums, and the records that its tables hold.

`croissant.json` is JSON-LD by Croissant 1.0 (mlcommons.org/croissant); `mlcroissant.Dataset("croissant.json")` reads it
and, without a network, the records `participants`, `images`, `labels` and `label_names`. The checksum of every image
and label map stands in `code/images.tsv` and `code/labels.tsv`, whose own checksums stand in croissant.json.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from synthzoo.cases.table import CaseTable
from synthzoo.io.files import sha256, write_json, write_text
from synthzoo.io.kinds import stem
from synthzoo.io.licences import licence_of
from synthzoo.results.case_files import CaseSet

VERSION = "http://mlcommons.org/croissant/1.0"
SYNTHETIC = "https://schema.org/TrainedAlgorithmicMediaDigitalSource"
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{
        term: f"cr:{term}"
        for term in (
            *("citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty", "fileObject", "fileSet"),
            *("format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet"),
            *("references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField"),
            "transform",
        )
    },
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}
TYPES = {"number": "sc:Float", "integer": "sc:Integer", "boolean": "sc:Boolean", "string": "sc:Text"}
MEDIA = {
    ".nii.gz": "application/gzip",
    ".nii": "application/x-nifti",
    ".png": "image/png",
    ".avi": "video/x-msvideo",
    ".mp4": "video/mp4",
    ".dcm": "application/dicom",
    ".tsv": "text/tab-separated-values",
    ".json": "application/json",
}
FILES = {
    "participant_id": ("sc:Text", "case, as in participants"),
    "shows": ("sc:Text", "what the file shows, the end of its name"),
    "path": ("sc:Text", "path of the file in the data set"),
    "bytes": ("sc:Integer", "size of the file"),
    "sha256": ("sc:Text", "checksum of the file"),
}


def write_croissant(table: CaseTable, found: CaseSet, nnunet: Path | None = None, name: str | None = None) -> None:
    """Write croissant.json and the tables of checksums beside a data set whose participants.tsv is complete.

    Args:
        table: of the cases.
        found: the cases.
        nnunet: nnU-Net's folder, or None.
        name: of the set; None takes the bundle's.
    """
    root = table.output_dir
    parts = {"images": [case.images for case in found.cases], "labels": [case.labels for case in found.cases]}
    kept = {part: files for part, files in parts.items() if any(files)}
    sets = []
    for part, files in kept.items():
        write_text(root / "code" / f"{part}.tsv", _table_of_files(root, [case.case for case in found.cases], files))
        sets.append(_file_set(root, part, files))
    tables = ["participants.tsv", "code/requests.tsv", *(f"code/{part}.tsv" for part in kept)]
    others = [
        "participants.json",
        *([] if nnunet is None else [(nnunet / "dataset.json").relative_to(root).as_posix()]),
    ]
    listed = [_file(root, path) for path in [*tables, *others] if (root / path).is_file()]
    sidecars = {
        "@type": "cr:FileSet",
        "@id": "sidecar-files",
        "name": "sidecar-files",
        "description": "seed, requested and measured values, and origin of each case",
        "encodingFormat": MEDIA[".json"],
        "includes": f"sub-*/{table.folder}/*_{stem(table.suffix)}.json",
    }
    records = [_participants(table), *(_records_of_files(part) for part in kept)]
    if found.names and "labels" in kept:
        records.append(_label_names(found.names))
    write_json(
        root / "croissant.json",
        {**_about(table, name), "distribution": [*listed, *sets, sidecars], "recordSet": records},
    )


def _about(table: CaseTable, name: str | None) -> dict[str, Any]:
    """What the data set is, who made it and under which licence."""
    metadata = table.metadata
    maker = f"{table.bundle or 'synthzoo'} {table.version or ''}".strip()
    references = "; ".join(metadata.get("references", []))
    changes = table.output_dir / "CHANGES"
    date = re.search(r"\d{4}-\d\d-\d\d", changes.read_text(encoding="utf-8")) if changes.is_file() else None
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": VERSION,
        "name": re.sub(r"\W+", "_", name or f"made_by_{table.bundle or 'synthzoo'}"),
        "description": f"Synthetic images, generated by {maker}. {metadata.get('description', '')}".strip(),
        "license": licence_of(table.bundle_root),
        "citeAs": f"Generated by {maker} ({metadata.get('authors', 'SynthZoo')}). {references}".strip(),
        "creator": {"@type": "sc:Organization", "name": metadata.get("authors") or "SynthZoo"},
        **({"datePublished": date[0]} if date else {}),
        "digitalSourceType": SYNTHETIC,
        "inLanguage": "en",
        "isLiveDataset": False,
        "keywords": ["synthetic", *([table.modality] if table.modality else []), "BIDS"],
        "version": "1.0.0",
    }


def _file(root: Path, path: str) -> dict[str, Any]:
    place = root / path
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "contentUrl": path,
        "contentSize": f"{place.stat().st_size} B",
        "encodingFormat": MEDIA[place.suffix],
        "sha256": sha256(place),
    }


def _file_set(root: Path, part: str, cases: Iterable[Mapping[str, Path]]) -> dict[str, Any]:
    """The files of all cases by patterns, one for each end of their names."""
    patterns, formats = {}, {}
    for files in cases:
        for shown, path in files.items():
            relative = path.relative_to(root).as_posix()
            above, _, below = re.sub(r"(^|/)sub-[^/]+/", r"\1sub-*/", relative).rpartition("/")
            ending = below[len(stem(below)) :]
            patterns[f"{above}/*_{shown}/*.dcm" if path.is_dir() else f"{above}/*_{shown}{ending}"] = None
            formats[MEDIA.get(ending, MEDIA[".dcm"])] = None
    return {
        "@type": "cr:FileSet",
        "@id": f"{part[:-1]}-files",
        "name": f"{part[:-1]}-files",
        "description": "generated images" if part == "images" else "label maps of the images, on their grids",
        "encodingFormat": list(formats),
        "includes": list(patterns),
    }


def _table_of_files(root: Path, cases: Iterable[str], files: Iterable[Mapping[str, Path]]) -> str:
    lines = ["\t".join(FILES)]
    for case, shown in zip(cases, files):
        for key, path in shown.items():
            for one in _inside(path):
                relative = one.relative_to(root).as_posix()
                lines.append("\t".join([case, key, relative, str(one.stat().st_size), sha256(one)]))
    return "\n".join(lines) + "\n"


def _inside(path: Path) -> Iterator[Path]:
    """The file itself, or the files of a folder of DICOM slices."""
    yield from sorted(path.iterdir()) if path.is_dir() else [path]


# --- records ---------------------------------------------------------------------------------------------------------


def _field(record: str, column: str, kind: str, description: str, source: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{record}/{column}",
        "name": column,
        "description": description,
        "dataType": kind,
        "source": {"fileObject": {"@id": source}, "extract": {"column": column}},
    }


def _participants(table: CaseTable) -> dict[str, Any]:
    """The columns of participants.tsv with the types of their conditions."""
    root = table.output_dir
    with open(root / "participants.tsv", encoding="utf-8") as file:
        columns = file.readline().rstrip("\n").split("\t")
    said = json.loads((root / "participants.json").read_text(encoding="utf-8"))
    fields = []
    for column in columns:
        told = said.get(column, {})
        kind = {"participant_id": "sc:Text", "seed": "sc:Integer"}.get(column) or (
            "sc:Float"
            if column.startswith("measured_")
            else TYPES[table.conditions.get(column, {}).get("type", "string")]
        )
        unit = f" ({told['Units']})" if told.get("Units") else ""
        description = f"{told.get('Description', 'name of the case')}{unit}"
        fields.append(_field("participants", column, kind, description, "participants.tsv"))
    return {
        "@type": "cr:RecordSet",
        "@id": "participants",
        "name": "participants",
        "description": "what was requested of each case and what was measured on it",
        "key": {"@id": "participants/participant_id"},
        "field": fields,
    }


def _records_of_files(part: str) -> dict[str, Any]:
    fields = [_field(part, column, kind, said, f"code/{part}.tsv") for column, (kind, said) in FILES.items()]
    fields[0]["references"] = {"field": {"@id": "participants/participant_id"}}
    return {
        "@type": "cr:RecordSet",
        "@id": part,
        "name": part,
        "description": f"the files of {part} with their checksums",
        "key": {"@id": f"{part}/path"},
        "field": fields,
    }


def _label_names(names: Mapping[int, str]) -> dict[str, Any]:
    columns = {"value": ("sc:Integer", "value in a label map"), "name": ("sc:Text", "what it stands for")}
    return {
        "@type": "cr:RecordSet",
        "@id": "label_names",
        "name": "label_names",
        "description": "what the values of the label maps stand for; 0 is background",
        "dataType": "sc:Enumeration",
        "key": {"@id": "label_names/value"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"label_names/{column}",
                "name": column,
                "description": said,
                "dataType": kind,
            }
            for column, (kind, said) in columns.items()
        ],
        "data": [{"label_names/value": value, "label_names/name": name} for value, name in names.items()],
    }
