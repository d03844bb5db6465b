"""Scenes with captions, and with masks where they are known: phantoms, and folders in the published layout."""
