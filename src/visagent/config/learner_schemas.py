"""Several learners of one run, each with a network and data of its own, and how they keep together; see
docs/learners.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from visagent.config.registry import registered
from visagent.config.settings import MOST_PROCESSES, Settings, setting


@dataclass
class LearnersSettings(Settings):
    """Settings of all kinds of several learners."""

    count: int = setting("learners, this process among them", least=1, most=MOST_PROCESSES, example=2)
    patience: float = setting("seconds after which a learner that does not answer counts as gone", above=0, example=30)


@registered("learners", "synchronous", formerly="visagent.learning.learners.Synchronous")
@dataclass
class SynchronousSettings(LearnersSettings):
    """Every step of the optimizer takes the mean of all learners' gradients."""

    _target_: str = "visagent.learning.in_step.Synchronous"


@dataclass
class ApartSettings(LearnersSettings):
    """Learners that take steps of their own between exchanges."""

    every: int = setting("batches between two exchanges of weights", symbol="τ", least=1, example=10)


@registered("learners", "averaging", formerly="visagent.learning.learners.Averaging")
@dataclass
class AveragingSettings(ApartSettings):
    """All take the mean of all weights, at the same time."""

    _target_: str = "visagent.learning.in_step.Averaging"


@registered("learners", "gossip", formerly="visagent.learning.learners.Gossip")
@dataclass
class GossipSettings(ApartSettings):
    """Each takes the mean of its own weights and those of another that it draws."""

    _target_: str = "visagent.learning.independent.Gossip"


@registered("learners", "parameter_server", formerly="visagent.learning.learners.ParameterServer")
@dataclass
class ParameterServerSettings(ApartSettings):
    """Each is drawn to a centre, which is drawn to it."""

    _target_: str = "visagent.learning.independent.ParameterServer"
    pull: float = setting(
        "part of its way to the centre that the learners together move at an exchange, each a part of that",
        symbol="β",
        above=0,
        most=1,
        example=0.9,
    )
