"""`python -m plugins.web --folder OUT` or `--server http://127.0.0.1:8000`: the zoo in a browser."""

from __future__ import annotations

import argparse
import sys

NEEDED = "the page needs Slicer's libraries: pip install 'trame-slicer[standalone]==2.0.0', see docs/web.md."


def main(argv: list[str] | None = None) -> int:
    """Start the page; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m plugins.web", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--server", help="address of a running server, such as http://127.0.0.1:8000")
    where.add_argument("--folder", help="results of monai.bundle run, or scans")
    parser.add_argument("--images", help="folder of the scans that the results of --folder belong to")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; the default is this machine only")
    parser.add_argument("--port", type=int, default=8080)
    requested = parser.parse_args(argv)
    try:
        import trame_slicer  # noqa: F401
    except ImportError:
        print(f"error: {NEEDED}", file=sys.stderr)
        return 1
    from SynthZooLib.errors import ZooError

    from plugins.web.app import Page
    from plugins.web.sources import Folder, Server

    try:
        page = Page(Server(requested.server) if requested.server else Folder(requested.folder, requested.images))
    except ZooError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    page.server.start(host=requested.host, port=requested.port, open_browser=False, show_connection_info=False)
    return 0


if __name__ == "__main__":
    sys.argv, arguments = sys.argv[:1], sys.argv[1:]  # trame reads sys.argv as well
    sys.exit(main(arguments))
