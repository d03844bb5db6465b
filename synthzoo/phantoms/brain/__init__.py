"""Brain phantoms: real anatomy under known deformations, with lesions, in any MR contrast."""
