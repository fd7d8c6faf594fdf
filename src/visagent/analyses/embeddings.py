"""A policy's embeddings of the same episode in several looks, in the plane (t-SNE; dissertation Figure 5.5)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visagent.analyses.subject import Subject
from visagent.errors import ConfigError

MARKERS = "o^sDvP*X"
PERPLEXITY = 30.0


def analyse(subject: Subject, seed: int, picture: Path) -> dict[str, float]:
    """Draw all moments of an episode of the policy, its actions done again in every look.

    Args:
        subject: what is analysed.
        seed: of the episode, and of t-SNE.
        picture: where it is drawn.

    Raises:
        ConfigError: where scikit-learn is missing.
    """
    looks = subject.shown
    episode = subject.trajectory(seed)
    embeddings = {look: subject.embedded(subject.again(episode, look)) for look in looks}
    places = in_the_plane(np.concatenate(list(embeddings.values())), seed)
    _draw(looks, places.reshape(len(looks), -1, 2), picture)
    return {}


def in_the_plane(embeddings: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """t-SNE (van der Maaten and Hinton 2008) of embeddings `[n, D]`, `[n, 2]`."""
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise ConfigError(
            f"embeddings: scikit-learn cannot be imported ({error}); type pip install 'visagent[secant]'"
        ) from error
    perplexity = min(PERPLEXITY, (len(embeddings) - 1) / 3)
    places: NDArray[np.float32] = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(embeddings)
    return places


def _draw(looks: tuple[str, ...], places: NDArray[np.float32], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5.5), layout="constrained")
    axes = figure.subplots()
    moments = np.arange(places.shape[1])
    for number, (look, own) in enumerate(zip(looks, places, strict=True)):
        dots = axes.scatter(
            own[:, 0],
            own[:, 1],
            c=moments,
            cmap="viridis",
            s=22,
            marker=MARKERS[number % len(MARKERS)],
            label=look,
            alpha=0.8,
        )
    figure.colorbar(dots, label="step of the episode")
    axes.set(xticks=[], yticks=[], title="embeddings of one episode in several looks (t-SNE)")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
