"""LightningModules: how experience becomes gradients."""
