"""SynthZoo: generative medical imaging as MONAI bundles. Importing it installs the one-sentence error report."""

__version__ = "0.1.0"

from synthzoo.errors import UserError, report_user_errors

report_user_errors()

__all__ = ["UserError", "__version__"]
