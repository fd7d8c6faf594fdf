"""Settings of the method, with their values; no torch here, as every command imports this."""

from dataclasses import dataclass

from visagent.config.registry import Fit, registered
from visagent.config.reinforcement_schemas import LearnerSettings
from visagent.config.settings import setting


@registered("algorithm", "awr", Fit(networks=("actor_critic",), data=("rollouts",)))
@dataclass
class AWRSettings(LearnerSettings):
    """Advantage-weighted regression; see `own_method.method.AdvantageWeightedRegression`."""

    _target_: str = "own_method.method.AdvantageWeightedRegression"
    gamma: float = setting("discount of a step", default=0.98, least=0, most=1)
    lam: float = setting("decay of the advantages' estimator", default=0.95, least=0, most=1)
    temperature: float = setting("of the weights, in standard deviations of the advantage", default=0.5, above=0)
    largest_weight: float = setting("what weights are cut off at", default=20.0, above=0)
    passes: int = setting("passes over each batch", default=10, least=1)
    minibatch_size: int = setting("samples of a step of the optimizer", default=64, least=1)
