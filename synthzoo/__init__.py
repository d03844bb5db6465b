"""SynthZoo: generative medical imaging as MONAI bundles. Importing it installs the one-sentence error report."""

__version__ = "0.1.0"

import sys

from synthzoo.errors import UserError, expect_known_options, report_user_errors

report_user_errors()
expect_known_options(sys.argv)

__all__ = ["UserError", "__version__"]
