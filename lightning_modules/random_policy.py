"""The baseline of reinforcement learning: random actions, evaluated as any other policy."""

from __future__ import annotations

from lightning_modules.untrained import Untrained


class RandomPolicy(Untrained):
    """Tests a `visagent.networks.uniform.UniformPolicy`; worlds and actions follow from the DataModule's seed."""
