"""Privacy audit of generated images: do they repeat those that a generator was trained on, and whom do they betray?"""
