"""Tiny worlds and scenes whose every number is known, for tests of methods."""
