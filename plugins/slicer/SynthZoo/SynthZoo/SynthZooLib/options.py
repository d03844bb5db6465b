"""The options of a model, typed, as the server's index describes them."""
