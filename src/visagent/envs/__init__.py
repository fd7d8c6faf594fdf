"""Worlds: they step, and know nothing of learning."""
