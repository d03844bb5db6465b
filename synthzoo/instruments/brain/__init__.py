"""Volumes, age and tissues measured on a brain image alone, and the brain found in a head."""
