"""Instruments that measure chest radiographs: lungs, heart and cardiothoracic ratio, and identity."""
