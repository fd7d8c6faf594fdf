"""Runs as jobs: what each asks of a cluster, how it is submitted, and how it is waited for."""
