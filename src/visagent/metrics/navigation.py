"""The navigation metrics of the paper's tables, per room type."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

METRICS = (
    "success_rate",
    "average_shortest_length",
    "average_predicted_length",
    "average_successful_length",
    "spl",
    "collisions",
)
_EPISODES, _SUCCESSES, _SHORTEST, _PREDICTED, _SUCCESSFUL, _SPL, _COLLISIONS = range(7)


class NavigationMetrics(Metric):
    r"""Success and path lengths over episodes, for each group and over all of them.

    - `success_rate`: share of episodes that reached the target's pose within the cut-off
    - `average_shortest_length`: mean shortest path over all episodes, in steps
    - `average_predicted_length`: mean steps taken, failures counted at the cut-off
    - `average_successful_length`: mean steps of successful episodes only (NaN without any)
    - `spl`: success weighted by shortest over taken length (Anderson et al. 2018)
    - `collisions`: mean collisions per episode

    Args:
        groups: names, for example room types; group ids index them.

    Shape:
        `update` takes `[B]` tensors; `compute` returns `{"<group>/<metric>": scalar}` for every group that has episodes
        and `all/<metric>` for their union.
    """

    full_state_update = False
    sums: Tensor

    def __init__(self, groups: Sequence[str]) -> None:
        super().__init__(sync_on_compute=False)  # every rank evaluates the same episodes
        self.groups = tuple(groups)
        self.add_state("sums", torch.zeros(len(self.groups), 7, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, group: Tensor, success: Tensor, shortest: Tensor, length: Tensor, collisions: Tensor) -> None:
        """Add B episodes: group ids int64, success bool, shortest and taken lengths in steps, collisions."""
        taken, best, won = length.double(), shortest.double(), success.double()
        rows = torch.stack(
            [
                torch.ones_like(won),
                won,
                best,
                taken,
                won * taken,
                won * best / torch.maximum(taken, best),
                collisions.double(),
            ],
            dim=1,
        )
        self.sums.index_add_(0, group, rows)

    def compute(self) -> dict[str, Tensor]:
        """All metrics of all groups."""
        result: dict[str, Tensor] = {}
        for name, sums in [*zip(self.groups, self.sums, strict=True), ("all", self.sums.sum(dim=0))]:
            episodes = sums[_EPISODES]
            if episodes > 0:
                per_episode = sums / episodes
                values = [per_episode[i] for i in (_SUCCESSES, _SHORTEST, _PREDICTED, _SUCCESSFUL, _SPL, _COLLISIONS)]
                values[3] = sums[_SUCCESSFUL] / sums[_SUCCESSES]
                result.update(
                    {f"{name}/{metric}": value.float() for metric, value in zip(METRICS, values, strict=True)}
                )
        return result
