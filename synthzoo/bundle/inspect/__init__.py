"""Bundles judged without running them: configs, code, weights, archives."""
