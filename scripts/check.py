"""Say what a file is: python scripts/check.py FILE...; exit 0 synthetic, 2 derived from an image, 3 not marked."""

import sys
from pathlib import Path

import fire

from synthzoo.errors import UserError
from synthzoo.io.marks import read_mark


def main(*files: str) -> None:
    """Print one line for each file; the exit code is the highest of them, and 1 for a file that cannot be read."""
    codes = []
    for file in files:
        try:
            mark = read_mark(str(file))
        except UserError as error:
            sys.exit(f"error: {error}")
        codes.append(3 if mark is None else 0 if mark.synthetic else 2)
        print(f"{Path(str(file))}: {mark or 'not marked'}")
    if not codes:
        sys.exit("error: no file is given: python scripts/check.py FILE...")
    sys.exit(max(codes))


if __name__ == "__main__":
    fire.Fire(main)
