"""Fetch and verify a bundle: python scripts/download.py NAME --source URL_OR_FOLDER_OR_hf:owner/repo"""

import fire

from synthzoo.bundle.download import download

if __name__ == "__main__":
    fire.Fire(lambda *args, **kwargs: str(download(*args, **kwargs)))
