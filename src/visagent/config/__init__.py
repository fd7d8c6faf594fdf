"""Configs: schemas, signature, validation after composition."""
