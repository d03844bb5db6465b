"""Photograph-like scenes of persons, dogs, cars and birds with exact masks and captions."""
