"""How the tests ask the server and read what it says."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import requests


def voxels(path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def refused(answer: requests.Response, status: int = 400) -> str:
    """The sentence of a refusal."""
    assert answer.status_code == status, answer.text
    sentence = answer.json()["detail"]
    assert isinstance(sentence, str) and "\n" not in sentence and "Traceback" not in sentence, sentence
    return sentence


def ask(server, model, params=None, image="", files=None, raw=None) -> requests.Response:
    data = {"params": raw if raw is not None else json.dumps(params or {})}
    return requests.post(f"{server.url}/infer/{model}?image={image}", data=data, files=files, timeout=120)
