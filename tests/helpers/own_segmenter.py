"""Segmenters as a user may write them, and what may be wrong with them."""

import torch
from torch import nn


class Own(nn.Module):
    """A convolution of 3 x 3 and one of 1 x 1, whose first weights have a second name."""

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.again = self.first
        self.last = nn.Conv2d(16, num_labels, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(self.again(images).relu())


def smaller(num_labels: int) -> nn.Module:
    """Logits of half the size, as many networks give them."""
    return nn.Conv2d(3, num_labels, 3, stride=2, padding=1)


class Wrapped(Own):
    """Its result is no tensor."""

    def forward(self, images: torch.Tensor) -> object:
        return [super().forward(images)]


def fails(num_labels: int) -> nn.Module:
    raise ValueError(f"{num_labels} are\ntoo many")


def no_network(num_labels: int) -> object:
    return [num_labels]


NOT_CALLABLE = 3
