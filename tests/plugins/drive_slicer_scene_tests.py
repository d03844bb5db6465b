"""Run the scene tests that come with the SynthZoo extension on slicer-core; prints their number and failures as JSON.

python drive_slicer_scene_tests.py FOLDER_OF_SynthZooSceneTest.py
"""

from __future__ import annotations

import json
import os
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

if __name__ == "__main__":
    import slicer_host

    sys.path.insert(0, sys.argv[1])
    slicer_host.install("")
    import SynthZooSceneTest

    done = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromModule(SynthZooSceneTest))
    print("REPORT " + json.dumps([done.testsRun, [text for _, text in done.failures + done.errors]]), flush=True)
    os._exit(0)  # VTK's and Qt's own ends disagree
