"""Metrics that accumulate during a run."""
