"""Other trainings of the same network, such as with a text encoder that learns, read from their weights alone."""

from __future__ import annotations

import copy
import re
from pathlib import Path

from synthzoo.networks.text_to_image import TextEncoder, TextToImage
from synthzoo.networks.weights import load_weights, read_state

LAYER = re.compile(r"text\.layers\.(\d+)\.")


def read_variant(network: TextToImage, path: str | Path) -> TextToImage:
    """A network like this one with the weights of a file; its text encoder has as many layers as the file says.

    Raises:
        UserError: the file cannot be read, or is of a network that differs otherwise.
    """
    state = read_state(path)
    layers = max((int(found.group(1)) + 1 for found in map(LAYER.match, state) if found), default=0)
    other = copy.deepcopy(network)
    words, places = network.text.words, network.text.places
    other.text = TextEncoder(words.num_embeddings, words.embedding_dim, places.num_embeddings, layers)
    return load_weights(other, path)
