"""Schedules, samplers and guidance: tensors and callables only."""
