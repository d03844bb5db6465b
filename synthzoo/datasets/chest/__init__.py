"""Chest radiographs: readers of the published layouts, and data sets for training."""
