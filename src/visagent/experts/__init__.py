"""Whatever labels an observation with an action."""
