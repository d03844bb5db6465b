"""Images with exactly known truth, as pure functions of their seeds."""
