"""Top-1 and top-5 accuracy of several protocols, counted over a whole evaluation."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

TOPS = (1, 5)


class TopAccuracies(nn.Module):
    """Counters by name, `<protocol>/top1` and `<protocol>/top5`.

    Args:
        classes: how many there are.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.counters = nn.ModuleDict()
        self.seen: dict[str, int] = {}

    def prepare(self, *protocols: str) -> None:
        """Begin to count protocols, on every rank whatever it will see: all of them add up."""
        for key in (f"{protocol}/top{top}" for protocol in protocols for top in TOPS):
            if key not in self.counters:
                top = min(int(key[-1]), self.classes)
                self.counters[key] = MulticlassAccuracy(self.classes, top_k=top, average="micro")
                self.seen[key] = 0

    def update(self, protocol: str, logits: Tensor, label: Tensor) -> None:
        """Count N videos by their logits `[N, classes]` and labels `[N]`."""
        for key in (f"{protocol}/top{top}" for top in TOPS):
            counter = self._counter(key).to(logits.device)
            counter.update(logits.float(), label)
            self.seen[key] += len(label)

    def compute(self, prefix: str, total: Callable[[Tensor], Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Accuracies over all ranks of what begins with a prefix, NaN where nothing was seen; then all begins anew.

        Args:
            prefix: of the names.
            total: the sum of a number over all ranks.
        """
        for key in self.counters:
            if key.startswith(prefix):
                counter = self._counter(key)
                share = quietly(counter)
                yield key, torch.where(total(torch.tensor(self.seen[key], device=share.device)) > 0, share, torch.nan)
                counter.reset()
                self.seen[key] = 0

    def _counter(self, key: str) -> Metric:
        counter = self.counters[key]
        assert isinstance(counter, Metric)
        return counter


def quietly(metric: Metric) -> Tensor:
    """What a metric computes, also on a rank that had nothing to count."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*was called before the ``update`` method.*")
        computed: Tensor = metric.compute()
    return computed
