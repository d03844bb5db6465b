"""Sources of training images as configs of brain bundles name them; see `synthzoo.datasets.sources`."""

from synthzoo.datasets.sources import FORMATS, training_images

__all__ = ["FORMATS", "training_images"]
