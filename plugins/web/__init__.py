"""The zoo in a browser: slices and 3D by Slicer's own libraries, over a running server or a folder of results."""
