"""A perceptron for small pictures."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class Perceptron(nn.Module):
    """Fully connected layers with rectified units between them.

    Args:
        inputs: elements of a picture.
        classes: how many.
        hidden_sizes: units of the hidden layers.
    """

    def __init__(self, inputs: int, classes: int, hidden_sizes: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for size in hidden_sizes:
            layers += [nn.Linear(inputs, size), nn.ReLU()]
            inputs = size
        self.layers = nn.Sequential(*layers, nn.Linear(inputs, classes))

    def forward(self, pictures: Tensor) -> Tensor:
        """Scores of the classes.

        Args:
            pictures: `[pictures, inputs]`, elements from 0 to 1.

        Returns:
            `[pictures, classes]`.
        """
        scores: Tensor = self.layers(pictures)
        return scores
