"""The parts of the SynthZoo panel that are Qt."""
