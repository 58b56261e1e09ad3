"""Rules such as ``presence >= 0.4``: which samples of a dataset are worth keeping."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataset_diffusion.dataset.filtering.quantities import QUANTITIES, Values
from dataset_diffusion.errors import ConfigError

_COMPARISONS: dict[str, Callable[[Any, float], Any]] = {
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
    """Which samples to keep: those whose quantity compares like this with the bound."""

    quantity: str
    comparison: str
    bound: float

    def holds(self, values: Values) -> bool:
        """Whether every value passes."""
        return bool(np.all(_COMPARISONS[self.comparison](np.asarray(values), self.bound)))

    def __str__(self) -> str:
        return f"{self.quantity} {self.comparison} {self.bound:g}"


def parse_rule(text: str) -> Rule:
    """Read a rule: a quantity of `QUANTITIES`, one of ``>=``, ``<=``, ``>``, ``<``, and a finite number.

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
