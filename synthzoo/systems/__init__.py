"""Published systems, a folder a paper; rooms of the library never import them."""
