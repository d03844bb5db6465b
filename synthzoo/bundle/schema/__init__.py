"""metadata.json against the local JSON schema, and the consistency that a schema cannot say; works offline."""

from __future__ import annotations

from pathlib import Path

from synthzoo.bundle.find import TASKS, check_name, read_json, read_metadata
from synthzoo.errors import UserError

SCHEMA_FILE = Path(__file__).with_name("metadata.schema.json")
# Stock `verify_metadata` asks for this URL; it does not download when --filepath already exists (SCHEMA_FILE).
OFFICIAL_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
)


def metadata_problems(bundle: str | Path) -> list[str]:
    """Every problem of a bundle's metadata.json as a sentence with the key; an empty list means that it is sound."""
    import jsonschema

    bundle = Path(bundle)
    metadata = read_metadata(bundle)
    validator = jsonschema.Draft7Validator(read_json(SCHEMA_FILE))
    problems = []
    for error in sorted(validator.iter_errors(metadata), key=lambda error: [str(part) for part in error.path]):
        key = "#".join(str(part) for part in error.path) or "(top level)"
        problems.append(f"{key}: {error.message}")
    if problems:
        return problems
    block = metadata["synthzoo"]
    if metadata["version"] not in metadata["changelog"]:
        problems.append(f"changelog: has no entry for the version {metadata['version']}")
    if next(iter(metadata["network_data_format"]["inputs"])) != "image":
        problems.append("network_data_format#inputs: the first one must be 'image', the stock tools assume it")
    if next(iter(metadata["network_data_format"]["outputs"])) != "pred":
        problems.append("network_data_format#outputs: the first one must be 'pred', the stock tools assume it")
    for name in block.get("instruments", {}):
        if name not in block["conditions"]:
            problems.append(f"synthzoo#instruments#{name}: measures a condition that synthzoo#conditions lacks")
    try:
        check_name(bundle.resolve().name, block["task"] if block["task"] in TASKS else None)
    except UserError as error:
        problems.append(str(error))
    return problems


def verify_metadata(bundle: str | Path) -> None:
    """UserError with the first problem of a bundle's metadata.json, or nothing."""
    problems = metadata_problems(bundle)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UserError(f"{Path(bundle) / 'configs' / 'metadata.json'}: {problems[0]}{more}; see CONTRIBUTING.md.")
