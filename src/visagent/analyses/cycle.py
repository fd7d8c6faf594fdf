"""Cycle consistency of a policy's embeddings over looks (Table 5.6)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visagent.analyses.subject import TRAINING, Subject
from visagent.errors import ConfigError
from visagent.metrics.cycle_consistency import cycle_consistency, levels_without_skill
from visagent.seeding import derive_seed


def analyse(subject: Subject, seed: int, trials: int, count: int, picture: Path) -> dict[str, float]:
    """Per cent of consistent observations, and the levels that need no skill.

    A trial is an episode of the policy in the look of its training, its actions done again in three of the looks, and
    observations at the same random moments of all three.

    Args:
        subject: with three looks at least, the training's included.
        seed: of the trials.
        trials: that are averaged over (the paper: 5).
        count: observations of a trajectory (the paper: 15).
        picture: where the distances of the first trial are drawn.

    Raises:
        ConfigError: with fewer looks, or episodes that are too short.
    """
    looks = subject.shown
    if len(looks) < 3:
        raise ConfigError(f"looks: expected two at least beside {TRAINING}, got {', '.join(subject.looks) or 'none'}")
    shares, drawn = [], None
    for trial in range(trials):
        rng = np.random.default_rng(derive_seed(seed, "cycle", trial))
        episode = subject.trajectory(derive_seed(seed, "episode", trial))
        if (steps := len(episode.actions)) < count:
            raise ConfigError(f"--observations: expected at most {steps}, the steps of an episode, got {count}")
        moments = np.sort(rng.choice(steps, count, replace=False))
        chosen = [looks[number] for number in rng.permutation(len(looks))[:3]]
        seen = [subject.again(episode, look) for look in chosen]
        embeddings = [
            subject.embedded({name: part[moments] for name, part in observations.items()}) for observations in seen
        ]
        shares.append(cycle_consistency(embeddings))
        drawn = drawn or (chosen, embeddings)
    assert drawn is not None
    _draw(*drawn, picture)
    (two, three), deviations = 100 * np.mean(shares, axis=0), 100 * np.std(shares, axis=0)
    metrics = {
        "two_way": float(two),
        "three_way": float(three),
        "two_way_std": float(deviations[0]),
        "three_way_std": float(deviations[1]),
    }
    for name, (level_two, level_three) in levels_without_skill(count, embeddings[0].shape[1]).items():
        metrics |= {f"two_way_{name}": 100 * level_two, f"three_way_{name}": 100 * level_three}
    return metrics


def _draw(looks: list[str], embeddings: list[NDArray[np.float32]], path: Path) -> None:
    """Distances of two trajectories' embeddings, and where each one's nearest neighbour is: on the diagonal where looks
    do not matter.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axes, (one, other) in zip(figure.subplots(1, 3), ((0, 1), (1, 2), (2, 0)), strict=True):
        distances = np.linalg.norm(embeddings[one][:, None] - embeddings[other][None], axis=-1)
        axes.imshow(distances, cmap="viridis")
        axes.plot(distances.argmin(axis=1), np.arange(len(distances)), "r.", label="nearest")
        axes.set(xlabel=looks[other], ylabel=looks[one], xticks=[], yticks=[])
    figure.suptitle("distances of embeddings, moments of an episode; red: the nearest of each row", fontsize=9)
    figure.savefig(path, dpi=110)
