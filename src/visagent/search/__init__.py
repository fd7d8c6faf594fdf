"""Search for settings: what a sweep of Hydra's asks for next, and what came of it."""
