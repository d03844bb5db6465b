"""Writers of what a run leaves: one per kind of file, sidecars, texts of the whole set, previews."""
