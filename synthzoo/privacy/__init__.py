"""Instruments of privacy: who is repeated, how often, and how much of a training set a generator has learned."""
