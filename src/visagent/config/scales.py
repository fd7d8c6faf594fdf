"""The scales of a run."""

SCALES = ("smoke", "laptop", "paper")
"""Seconds, to see that every part runs; minutes on a laptop; the paper's own size."""
