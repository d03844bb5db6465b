"""The zoo in a browser: slices and 3D by Slicer's own libraries, over a running server or a folder of results.

What speaks to the server and what makes MRML nodes is the Slicer extension's `SynthZooLib`.
"""

import sys
from pathlib import Path

EXTENSION = Path(__file__).resolve().parents[1] / "slicer" / "SynthZoo" / "SynthZoo"
if str(EXTENSION) not in sys.path:
    sys.path.append(str(EXTENSION))
