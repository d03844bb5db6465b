"""Synthetic images, translation and anomaly heat maps from a SynthZoo server, in 3D Slicer. Widgets only."""
