"""Rules such as ``presence >= 0.4``: which samples of a dataset are worth keeping."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dataset_diffusion.errors import ConfigError

QUANTITIES = {
    "presence": "how strongly attention found a class, 1 as strongly as in the class's median image of the dataset",
    "area": "share of the pixels labelled with a class, 0 to 1",
    "components": "number of connected regions of a class",
    "uncertain": "share of uncertain pixels, 0 to 1",
    "foreground": "share of pixels labelled with any class, 0 to 1",
    "image_text": "how well the image fits its caption, the cosine similarity of their CLIP embeddings",
    "novelty": "bits of 64 in which the perceptual hash differs from that of every image kept before; 0 is a copy",
}
"""What rules can ask for."""

OF_EACH_CLASS = ("presence", "area", "components")
"""The quantities of each class that a prompt names; a rule must hold for all of them."""

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_GRAMMAR = re.compile(
    r"\s*(?P<quantity>[a-z_]+)\s*(?P<comparison>>=|<=|>|<)\s*(?P<bound>-?[0-9]*\.?[0-9]+)\s*", re.ASCII
)


@dataclass(frozen=True)
class Rule:
    """A sample is kept where its quantity compares so with the bound."""

    quantity: str
    comparison: str
    bound: float

    def holds(self, values: Iterable[float]) -> bool:
        """Whether every value passes."""
        return all(_COMPARISONS[self.comparison](value, self.bound) for value in values)

    def __str__(self) -> str:
        return f"{self.quantity} {self.comparison} {self.bound:g}"


def parse_rule(text: str) -> Rule:
    """Read a rule.

    Args:
        text: a quantity of `QUANTITIES`, one of ``>=``, ``<=``, ``>``, ``<``, and a number.

    Raises:
        ConfigError: it is something else.

    Example:
        >>> parse_rule("area>=0.02")
        Rule(quantity='area', comparison='>=', bound=0.02)
    """
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise ConfigError("not a rule", got=text, expected="a quantity, >=, <=, > or <, and a number: presence >= 0.4")
    if match["quantity"] not in QUANTITIES:
        raise ConfigError(
            "no such quantity in a rule", got=match["quantity"], expected=f"one of {', '.join(QUANTITIES)}"
        )
    bound = float(match["bound"])
    if not math.isfinite(bound):
        raise ConfigError("not a rule", got=text, expected="a finite number")
    return Rule(match["quantity"], match["comparison"], bound)
