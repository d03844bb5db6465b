"""Evaluations that need several rooms at once: training beside sampling, privacy beside fidelity."""
