"""SynthZoo: generative medical imaging as MONAI bundles."""

__version__ = "0.1.0"

from synthzoo.errors import UserError

__all__ = ["UserError", "__version__"]
