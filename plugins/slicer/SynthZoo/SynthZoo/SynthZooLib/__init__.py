"""What the SynthZoo module does, apart from its widgets: the server over HTTP, and results as MRML nodes.

Only the standard library, numpy, vtk and `slicer` are imported, so that every file runs in Slicer and, for its tests,
on slicer-core without the application. Python 3.9 and newer.
"""
