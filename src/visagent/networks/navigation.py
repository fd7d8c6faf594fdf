"""The network of the paper's Figure 4: shared siamese layers, fusion, scene-specific layers.

The frozen ResNet features of the last four frames (4 x 2048 = 8192) and of the target (tiled four times) pass the same
projection to 512 dimensions, are fused to 512, and go through two fully connected layers of their scene to four action
logits and a value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visagent.envs.navigation import HISTORY, NavigationObservation, SceneTables
from visagent.errors import ConfigError
from visagent.networks.distributions import sample_categorical
from visagent.networks.policy import PolicyStep
from visagent.scenes.graph import ACTIONS

OF_SCENES = ("scene_layer.", "policy_head.", "value_head.")
"""Beginnings of the names of layers that each scene has of its own."""


class SceneLinear(nn.Module):
    """One linear layer per scene; rows come grouped by scene."""

    def __init__(self, scenes: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(scenes, outputs, inputs))
        self.bias = nn.Parameter(torch.empty(scenes, outputs))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in +-1/sqrt(fan in), as in the released code (and as `nn.Linear`)."""
        bound = 1.0 / math.sqrt(self.weight.shape[2])
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor, counts: list[int]) -> Tensor:
        """X `[B, in]` sorted by scene with `counts[s]` rows each -> `[B, out]`."""
        # unbind, not indexing: the backward of an index fills a zero tensor of all scenes for each of them
        layers = zip(x.split(counts), self.weight.unbind(), self.bias.unbind(), strict=True)
        parts = [F.linear(rows, weight, bias) for rows, weight, bias in layers if len(rows)]
        return torch.cat(parts) if parts else x.new_zeros(0, self.bias.shape[1])


@dataclass(frozen=True)
class NavigationOutput:
    """logits `[B, 4]`, value `[B]`, scene layer `[B, 512]` (input of the safety policy)."""

    logits: Tensor
    value: Tensor
    scene_layer: Tensor


class NavigationNetwork(nn.Module):
    """Figure 4 of the paper over the scenes of `tables`.

    Features are standardised per dimension with buffers that travel in the checkpoint (raw ResNet features of one scene
    have cosines near one). With `projection` they are then projected onto their leading principal directions: an
    invertible change of basis as far as the kept variance goes, and a first layer 16 times narrower on a laptop.

    Args:
        tables: gives the number of scenes and the features that are looked up by state.
        embedding, fusion, scene_layer: widths; 512 each in the paper.
        projection: dimensions kept per frame, or None for all 2048 (the paper).
        random_feature_sample: in training, look up a random one of a dump's K feature samples instead of the first.
    """

    mean: Tensor
    std: Tensor
    basis: Tensor
    table: Tensor

    def __init__(
        self,
        tables: SceneTables,
        embedding: int = 512,
        fusion: int = 512,
        scene_layer: int = 512,
        projection: int | None = None,
        random_feature_sample: bool = False,
    ) -> None:
        super().__init__()
        self.scenes = tables.names
        scenes, samples = (
            len(tables.names),
            max(scene.features.shape[1] for scene in tables.scenes) if random_feature_sample else 1,
        )
        raw = torch.stack([_feature_sample(tables, k) for k in range(samples)])  # [K, S, F]
        features = raw.shape[-1]
        if projection is not None and not 1 <= projection <= features:
            raise ConfigError(f"network.projection: expected 1..{features} or null, got {projection}")
        self.samples = samples
        width = features if projection is None else projection
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.register_buffer("basis", torch.zeros(features, 0 if projection is None else width))
        self.register_buffer("raw", raw, persistent=False)
        self.register_buffer("table", torch.zeros(0), persistent=False)
        self.siamese = nn.Linear(HISTORY * width, embedding)
        self.fusion = nn.Linear(2 * embedding, fusion)
        self.scene_layer = SceneLinear(scenes, fusion, scene_layer)
        self.policy_head = SceneLinear(scenes, scene_layer, len(ACTIONS))
        self.value_head = SceneLinear(scenes, scene_layer, 1)
        self.fit_normaliser()

    def fit_normaliser(self) -> None:
        """Set mean, deviation and basis from the bound features, and refresh the table."""
        raw: Tensor = self.get_buffer("raw")[0]
        self.mean.copy_(raw.mean(dim=0))
        deviation = raw.std(dim=0)
        self.std.copy_(torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation)))
        if self.basis.shape[1]:
            leading = _principal_directions(((raw - self.mean) / self.std).double(), self.basis.shape[1])
            # The sign of an eigenvector is arbitrary: fix it, so that every machine learns from the same inputs.
            sign = leading.gather(0, leading.abs().argmax(dim=0, keepdim=True)).sign()
            self.basis.copy_((leading * sign).float())
        self.refresh_table()

    def refresh_table(self) -> None:
        """Recompute the looked-up inputs; call after loading a checkpoint."""
        scaled = (self.get_buffer("raw") - self.mean) / self.std
        if self.basis.shape[1]:
            scaled = scaled @ self.basis
            scaled = scaled / scaled[0].std().clamp_min(1e-6)
        self.table = scaled

    def reset_parameters(self) -> None:
        """Draw all weights anew from the global generator."""
        for layer in (self.siamese, self.fusion, self.scene_layer, self.policy_head, self.value_head):
            layer.reset_parameters()

    def place_of(self, name: str, value: Tensor, about: Mapping[str, Any]) -> tuple[str, Tensor]:
        """A weight of another run as this network takes it: of layers of scenes, those of the scenes that both know."""
        there, own = about.get("scene_names"), self.state_dict().get(name)
        if there is None or own is None or not name.startswith(OF_SCENES) or value.shape[1:] != own.shape[1:]:
            return name, value
        layers = dict(zip(there, value, strict=True))
        return name, torch.stack([layers.get(scene, mine) for scene, mine in zip(self.scenes, own, strict=True)])

    def _lookup(self, states: Tensor) -> Tensor:
        if self.training and self.samples > 1:
            return self.table[torch.randint(self.samples, states.shape, device=states.device), states]
        return self.table[0][states]

    def forward(self, observation: NavigationObservation) -> NavigationOutput:
        """Logits, values and scene layer of B observations."""
        seen = F.relu(self.siamese(self._lookup(observation.history).flatten(1)))
        # A batch holds few different targets: their half of the siamese and fusion layers is computed once for each.
        targets, which = observation.target.unique(return_inverse=True)
        wanted = F.relu(self.siamese(self._lookup(targets[:, None].expand(-1, HISTORY)).flatten(1)))
        for_seen, for_wanted = self.fusion.weight.split(seen.shape[1], dim=1)
        joint = F.linear(seen, for_seen, self.fusion.bias) + F.linear(wanted, for_wanted)[which]
        return self.head(F.relu(joint), observation.scene)

    def head(self, joint: Tensor, scene: Tensor) -> NavigationOutput:
        """The scene-specific layers on the joint representation `[B, 512]`."""
        order = torch.argsort(scene, stable=True)
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=order.device)
        counts = torch.bincount(scene, minlength=len(self.scene_layer.weight)).tolist()
        hidden = F.relu(self.scene_layer(joint[order], counts))
        logits, value = self.policy_head(hidden, counts), self.value_head(hidden, counts)[:, 0]
        return NavigationOutput(logits[back], value[back], hidden[back])


def _principal_directions(x: Tensor, count: int) -> Tensor:
    """The `count` leading principal directions of centred rows `[S, F]`, as columns `[F, count]`; null ones are
    zero.
    """
    states, features = x.shape
    if states >= features:
        columns: Tensor = torch.linalg.eigh(x.T @ x)[1]
        return columns.flip(1)[:, :count]
    spectrum = torch.linalg.eigh(x @ x.T)  # the same directions from the smaller matrix
    values, vectors = spectrum[0].flip(0)[:count], spectrum[1].flip(1)[:, :count]
    kept = values > 1e-9 * values[0]
    directions = x.T @ (vectors * torch.where(kept, values.clamp_min(1e-30).rsqrt(), 0.0))
    return F.pad(directions, (0, count - directions.shape[1]))


def _feature_sample(tables: SceneTables, sample: int) -> Tensor:
    """Feature sample k of every state, `[S, F]`; dumps with fewer samples repeat theirs."""
    return torch.cat([torch.from_numpy(scene.features[:, sample % scene.features.shape[1]]) for scene in tables.scenes])


class SafetyHead(nn.Module):
    """The safety policy: one fully connected layer on the scene layer (the paper, Section 3.4), one per scene.

    Attributes:
        threshold: probability above which a state counts as unsafe; 1 warns never, 0 always.
    """

    threshold: Tensor

    def __init__(self, scenes: int, inputs: int) -> None:
        super().__init__()
        self.layer = SceneLinear(scenes, inputs, 1)
        self.register_buffer("threshold", torch.tensor(0.5))

    def forward(self, scene_layer: Tensor, scene: Tensor) -> Tensor:
        """Logit of "the policy errs here", `[B]`."""
        weight, bias = self.layer.weight[:, 0], self.layer.bias[:, 0]
        return (scene_layer * weight[scene]).sum(dim=1) + bias[scene]


class NavigationPolicy:
    """A frozen network made fast for rollouts.

    The first layer is linear in the four frames, so its product with every state's features is computed once; a step
    then costs a gather and three 512 x 512 products per episode instead of two products with 8192 inputs.
    """

    @torch.no_grad()
    def __init__(self, network: NavigationNetwork, safety: SafetyHead | None = None) -> None:
        self.network, self.safety = network, safety
        table = network.table[0]
        width = network.siamese.out_features
        weight = network.siamese.weight.view(width, HISTORY, -1)
        self._states = len(table)
        self._frames = torch.cat([table @ weight[:, j].T for j in range(HISTORY)])  # [4 * S, 512]
        offsets = torch.arange(HISTORY, device=table.device) * self._states
        self._offsets = offsets
        wanted = F.relu(
            sum(self._frames[j * self._states : (j + 1) * self._states] for j in range(HISTORY)) + network.siamese.bias
        )
        self._fusion = network.fusion.weight[:, :width].T.contiguous()
        self._wanted = torch.addmm(network.fusion.bias, wanted, network.fusion.weight[:, width:].T)

    @torch.no_grad()
    def evaluate(self, observation: NavigationObservation) -> NavigationOutput:
        """Same as the network's forward in evaluation mode, faster."""
        seen = (
            F.embedding_bag(observation.history + self._offsets, self._frames, mode="sum")
            .add_(self.network.siamese.bias)
            .relu_()
        )
        joint = torch.addmm(self._wanted[observation.target], seen, self._fusion).relu_()
        return self.network.head(joint, observation.scene)

    @torch.no_grad()
    def act(
        self,
        observation: NavigationObservation,
        state: None = None,
        deterministic: bool = False,
        generator: torch.Generator | None = None,
    ) -> PolicyStep:
        """Sampled or argmax actions; `unsafe` where there is a safety policy."""
        output = self.evaluate(observation)
        log_probs = output.logits.log_softmax(dim=-1)
        action = output.logits.argmax(dim=-1) if deterministic else sample_categorical(log_probs, generator)
        log_prob = log_probs.gather(-1, action[:, None])[:, 0]
        unsafe = None
        if self.safety is not None:
            unsafe = self.safety(output.scene_layer, observation.scene).sigmoid() > self.safety.threshold
        return PolicyStep(action, None, log_prob, output.value, unsafe)

    def initial_state(self, count: int) -> None:
        """Feed-forward: there is no state."""
        return
