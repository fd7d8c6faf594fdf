"""What a network or a block costs: parameters, multiply-adds, latency (Tables 6.1 to 6.3 and 6.6). Trains nothing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightning_modules.making import make_network
from visagent.config.video_schemas import NetworkCostSettings
from visagent.errors import ConfigError
from visagent.networks.counting import cost
from visagent.seeding import derive_seed


class NetworkCost(pl.LightningModule):
    """Counts and times a network on the DataModule's clips.

    Args:
        settings: see `visagent.config.video_schemas.NetworkCostSettings`.
        network: makes the network from `num_frames`, and `num_classes` where the data have classes.
        optimizer: unused.
    """

    def __init__(self, settings: NetworkCostSettings, network: Callable[..., nn.Module], optimizer: Any) -> None:
        super().__init__()
        self.settings, self._make_network = settings, network

    def setup(self, stage: str) -> None:
        """Build the network, once."""
        if hasattr(self, "network"):
            return
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        classes = {} if data.num_classes is None else {"num_classes": data.num_classes}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.settings.seed, "weights"))
            self.network = make_network(self._make_network, num_frames=data.shape[1], **classes)

    def training_step(self, batch: Tensor, batch_index: int) -> Tensor | None:
        """Never asked for."""
        return None

    def configure_optimizers(self) -> None:
        """No optimizer: nothing is trained."""

    def test_step(self, clips: Tensor, batch_index: int) -> None:
        try:
            counted = cost(self.network, (1, *clips.shape[1:]))
        except (ValueError, RuntimeError) as error:
            raise ConfigError(
                f"datamodule.shape={list(clips.shape)}: the network does not take such clips ({error})"
            ) from error
        self.log("test/network/parameters", float(counted.parameters), batch_size=1)
        self.log("test/network/parameters_m", counted.parameters / 1e6, batch_size=1)
        self.log("test/network/gmacs", counted.multiply_adds / 1e9, batch_size=1)
        if self.settings.trials > 0:
            forward = self._milliseconds(lambda: self.network(clips))
            self.log("test/network/latency_ms", statistics.median(forward), batch_size=1)
            self.log("test/network/latency_mean_ms", statistics.fmean(forward), batch_size=1)
            self.log(
                "test/network/latency_std_ms", statistics.stdev(forward) if len(forward) > 1 else 0.0, batch_size=1
            )
            with torch.inference_mode(False), torch.enable_grad():
                inputs = clips.clone()
                upstream = torch.ones_like(self.network(inputs))

                def both() -> None:
                    self.network.zero_grad()
                    self.network(inputs).backward(upstream)

                self.log("test/network/training_ms", statistics.median(self._milliseconds(both)), batch_size=1)

    def _milliseconds(self, function: Callable[[], object]) -> list[float]:
        """Durations of the trials, after a tenth as many to warm up."""
        durations = []
        for trial in range(-max(1, self.settings.trials // 10), self.settings.trials):
            self._wait()
            began = time.perf_counter()
            function()
            self._wait()
            if trial >= 0:
                durations.append(1e3 * (time.perf_counter() - began))
        return durations

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
