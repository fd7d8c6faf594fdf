"""Schemas of classification of small pictures, the simple task on which ways to train together are compared."""

from __future__ import annotations

from dataclasses import dataclass

from visagent.config.registry import Fit, registered
from visagent.config.settings import Settings, setting
from visagent.config.trained_weights import TrainedWeights


@registered("algorithm", "classification", Fit(("perceptron",), ("digits",)))
@dataclass
class ClassificationSettings(Settings):
    """See `lightning_modules.classification.Classification`."""

    schedule: str = setting("the learning rate over the run", among=("constant", "cosine"))
    seed: int = setting("seed of the first weights")
    _target_: str = "lightning_modules.classification.Classification"


@registered("network", "perceptron")
@dataclass
class PerceptronConfig(TrainedWeights):
    """See `visagent.networks.perceptron.Perceptron`."""

    hidden_sizes: list[int] = setting("units of the hidden layers", least=1, example=64)
    _partial_: bool = True
    _target_: str = "visagent.networks.perceptron.Perceptron"


@registered("datamodule", "digits")
@dataclass
class DigitsSettings(Settings):
    """See `datamodules.digits.Digits`."""

    batch_size: int = setting("pictures in a batch, of each learner", least=1, example=8)
    batches_per_epoch: int = setting("batches between two looks at the held-out pictures", least=1, example=20)
    held_out: int = setting("pictures that are not trained on", least=10, most=1700, example=450)
    seed: int = setting("seed of the batches; which pictures are held out does not depend on it")
    _target_: str = "datamodules.digits.Digits"
