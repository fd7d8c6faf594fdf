"""Values of joint options for Mac-Cen-DDRQN (Xiao et al. 2019): a recurrent network, conditioned on the options that
run when the best is looked for.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from visagent.envs.option_worlds import OptionSpaces
from visagent.networks.conditional import joint_index, joint_slice, open_options, separate
from visagent.networks.distributions import sample_categorical
from visagent.networks.option_policies import OptionChoice, Situation


class OptionQNetwork(nn.Module):
    """Q of every joint option, from the history of what all agents saw when somebody chose.

    Args:
        spaces: of the world.
        width: of the first and of the last hidden layer.
        lstm: units of the LSTM and of the layer before it.
    """

    epsilon: Tensor
    parts = values_count = 1

    def __init__(self, spaces: OptionSpaces, width: int, lstm: int) -> None:
        super().__init__()
        self.spaces, self.sizes = spaces, spaces.sizes
        count = 1
        for size in self.sizes:
            count *= size
        self.before = nn.Sequential(
            nn.Linear(sum(spaces.observations), width), nn.LeakyReLU(), nn.Linear(width, lstm), nn.LeakyReLU()
        )
        self.lstm = nn.LSTM(lstm, lstm)
        self.after = nn.Sequential(nn.Linear(lstm, width), nn.LeakyReLU(), nn.Linear(width, count))
        self.register_buffer("epsilon", torch.ones(()))
        for layer in (*self.before, *self.after):
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    @property
    def memory_size(self) -> int:
        """Numbers that it remembers of an episode."""
        return 2 * self.lstm.hidden_size

    def forward(self, observation: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Q `[L, N, M]` of sequences of observations `[L, N, D]`, and the memory afterwards `[N, memory_size]`; without
        one it begins with zeros.
        """
        if memory is None:
            memory = torch.zeros(observation.shape[1], self.memory_size, device=observation.device)
        hidden, cell = (part[None].contiguous() for part in memory.chunk(2, dim=-1))
        remembered, (hidden, cell) = self.lstm(self.before(observation), (hidden, cell))
        return self.after(remembered), torch.cat([hidden[0], cell[0]], dim=-1)

    def values(self, situation: Situation) -> Tensor:
        """Zeros `[N, 1]`: there is no critic."""
        return torch.zeros(len(situation.observation), 1)

    @torch.inference_mode()
    def choose(
        self, situation: Situation, deterministic: bool = False, generator: torch.Generator | None = None
    ) -> OptionChoice:
        """The best joint options given those that run; unless `deterministic` each agent that chooses takes any option
        with probability epsilon.
        """
        q, memory = self(situation.observation[None], situation.memory)
        allowed = joint_slice(situation.options, situation.choosing, situation.available, self.sizes)
        options = separate(q[0].masked_fill(~allowed, -torch.inf).argmax(dim=-1), self.sizes)
        if not deterministic and float(self.epsilon) > 0:
            explores = torch.rand(options.shape, generator=generator) < self.epsilon
            drawn = []
            for offered in open_options(situation.options, situation.choosing, situation.available, self.sizes):
                log_probs = torch.zeros(offered.shape).masked_fill(~offered, -torch.inf).log_softmax(dim=-1)
                drawn.append(sample_categorical(log_probs, generator))
            options = torch.where(explores & situation.choosing, torch.stack(drawn, dim=1), options)
        return OptionChoice(options, torch.zeros(options.shape[0], 1), memory)


def q_of(q: Tensor, options: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """The values, among Q `[..., M]`, of joint options `[..., n]`."""
    return q.gather(-1, joint_index(options, sizes)[..., None])[..., 0]
