"""Typed batches and containers of experience."""
