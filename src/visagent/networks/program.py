"""A policy from elsewhere: a PyTorch 2 archive (`torch.export.save`) that takes observations to actions."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from visagent.envs.spaces import ActionSpace, WorldSpaces
from visagent.errors import ConfigError
from visagent.networks.policy import Memoryless, PolicyStep

EXPECTED = (
    "a PyTorch 2 archive (torch.export.save) from pictures [N, 3 x frames, H, W], uint8 or float32 in [0, 255], or "
    "states [N, D] float32, to actions [N, A] in [-1, 1], N being dynamic"
)


def _load(archive: bytes) -> torch.export.ExportedProgram:
    """The program, without PyTorch's own words on what it tries."""
    log = logging.getLogger("torch.export")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*buffer is not writable.*")
            return torch.export.load(io.BytesIO(archive))
    finally:
        log.setLevel(before)


class ProgramPolicy(Memoryless):
    """An exported program as a policy that stays as it is. It is loaded again in every process that needs it.

    Args:
        path: of the archive.
        action_size: A of the worlds.

    Raises:
        ConfigError: when it cannot be loaded, or is no policy for such actions.
    """

    def __init__(self, path: str, action_size: int) -> None:
        super().__init__()
        self.archive, self._loaded = Path(path).read_bytes(), list[nn.Module]()
        try:
            program = _load(self.archive)
            (example,), _ = program.example_inputs
            self.dtype, shape = example.dtype, tuple(example.shape[1:])
            result = program.module()(torch.zeros(3, *shape, dtype=self.dtype))
        except Exception as error:  # whatever a foreign file does to what reads it
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ConfigError(f"algorithm.expert_checkpoint: expected {EXPECTED}, got {path} ({reason})") from error
        if not isinstance(result, Tensor) or tuple(result.shape) != (3, action_size) or len(shape) not in (1, 3):
            got = f"outputs {list(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
            raise ConfigError(
                f"algorithm.expert_checkpoint: expected {EXPECTED}, here [3, {action_size}] of three observations, got "
                f"inputs {list(shape)} and {got} from {path}"
            )
        self.part = "pixels" if len(shape) == 3 else "state"
        frames = shape[0] // 3 if self.part == "pixels" else 1
        self.spaces = WorldSpaces({self.part: shape}, ActionSpace("continuous", action_size), frames)

    def act(
        self,
        observation: Mapping[str, Tensor],
        state: Any = None,
        deterministic: bool = False,
        generator: torch.Generator | None = None,
    ) -> PolicyStep:
        """Act on observations `[B, ...]`, always without noise; the program computes on the CPU."""
        if not self._loaded:  # in a list, as it is no part of this module's weights
            self._loaded.append(_load(self.archive).module())
        seen = observation[self.part]
        with torch.no_grad():
            action: Tensor = self._loaded[0](seen.to("cpu", self.dtype)).clamp(-1.0, 1.0).to(seen.device)
        return PolicyStep(action, None, torch.zeros(len(action)))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": []}  # a program crosses no border between processes
