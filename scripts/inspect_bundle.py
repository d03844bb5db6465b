"""Judge a bundle without running it: python scripts/inspect_bundle.py FOLDER_OR_ZIP; exit 0, 2 review, 3 refuse."""

import sys

from synthzoo.bundle.inspect.judge import inspect_bundle
from synthzoo.cli import run
from synthzoo.io.files import write_json


def main(path: str, report: str | None = None) -> None:
    """Print the findings and the verdict; with --report FILE.json they are also written there."""
    result = inspect_bundle(path)
    if report:
        write_json(report, result.to_dict())
    print(result)
    sys.exit(result.exit_code)


if __name__ == "__main__":
    run(main)
