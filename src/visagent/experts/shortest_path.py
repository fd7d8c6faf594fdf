"""The expert of the paper (Section 3.1): the shortest path, read off the distances."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from visagent.envs.navigation import SceneTables


@dataclass(frozen=True)
class ExpertLabel:
    """An expert's answer.

    Attributes:
        action: `[B]` int64, the expert's action: the first optimal one in action order (forward, right, left, back), so
            that ties are broken alike everywhere.
        optimal: `[B, 4]` bool, all actions that shorten the path by one.
        valid: `[B]` bool, False on the target and where it cannot be reached; action is 0 there.
    """

    action: Tensor
    optimal: Tensor
    valid: Tensor


class ShortestPathExpert:
    """Labels states with optimal actions and counts how often it was asked.

    Attributes:
        queries: labelled (state, target) pairs so far.
        unreachable: pairs so far that nobody learns from, because the target cannot be reached from the state.
    """

    def __init__(self, tables: SceneTables) -> None:
        self.tables = tables
        self.queries = self.unreachable = 0

    def peek(self, state: Tensor, target: Tensor) -> ExpertLabel:
        """Label without counting: for metrics, not for learning."""
        here = self.tables.distance(state, target)
        following = self.tables.graph[state]  # [B, 4]
        there = self.tables.distance(following.clamp_min(0), target[:, None].expand_as(following))
        valid = here > 0
        optimal = (following >= 0) & (there >= 0) & (there == here[:, None] - 1) & valid[:, None]
        return ExpertLabel(optimal.to(torch.int8).argmax(dim=1), optimal, valid)

    def label(self, state: Tensor, target: Tensor) -> ExpertLabel:
        """Label `[B]` states for `[B]` targets and count the queries."""
        self.queries += len(state)
        return self.peek(state, target)

    def demonstrate(self, starts: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Shortest paths from many starts at once; every step on them is a query.

        Args:
            starts, targets: `[B]` global states, each start able to reach its target.

        Returns:
            state `[T + 1, B]`, action `[T, B]` and running `[T, B]` (whether step t belongs to the path).
        """
        device = self.tables.graph.device
        starts, targets = starts.to(device), targets.to(device)
        state, states, actions, running = starts, [starts], [], []
        while True:
            label = self.peek(state, targets)
            if not bool(label.valid.any()):
                break
            running.append(label.valid)
            actions.append(label.action)
            following = self.tables.graph[state, label.action]
            state = torch.where(label.valid, following, state)
            states.append(state)
        empty = starts.new_zeros(0, len(starts))
        mask = torch.stack(running) if running else empty.bool()
        self.queries += int(mask.sum())
        return torch.stack(states), torch.stack(actions) if actions else empty, mask
