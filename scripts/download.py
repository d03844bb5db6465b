"""Fetch and verify a bundle: python scripts/download.py NAME --source URL_OR_FOLDER_OR_hf:owner/repo"""

from synthzoo.bundle.download import download
from synthzoo.cli import run

if __name__ == "__main__":
    run(download)
