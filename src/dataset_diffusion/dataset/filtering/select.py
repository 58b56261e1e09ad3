"""Which samples of a dataset pass a list of rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from dataset_diffusion.dataset.filtering.quantities import QUANTITIES, read_rows
from dataset_diffusion.dataset.filtering.rules import Rule
from dataset_diffusion.dataset.store import DatasetStore


@dataclass(frozen=True)
class Selection:
    """The samples that pass all rules.

    Attributes:
        kept: their indices, ascending.
        dropped: for each rule, how many of the samples that passed the rules before it did not pass it.
    """

    kept: tuple[int, ...]
    dropped: tuple[int, ...]

    @classmethod
    def of(cls, broken: Sequence[int | None], num_rules: int) -> Selection:
        """The selection that `judge` has made."""
        counts = Counter(broken)
        kept = tuple(index for index, rule in enumerate(broken) if rule is None)
        return cls(kept, tuple(counts[rule] for rule in range(num_rules)))


def judge(
    store: DatasetStore, rules: Sequence[Rule], image_text: str, dropped: Collection[int] = ()
) -> Iterator[int | None]:
    """Apply rules to the samples of a finished dataset, in order of index.

    Args:
        store: the dataset.
        rules: the rules.
        image_text: the CLIP model that rules about image_text ask, loaded only for those: a hub id or a local folder.
        dropped: indices of samples that are left out whatever the rules say.

    Yields:
        For each sample the position of the first rule that it breaks, one past the last where it is among the dropped;
        None where it passes all of them.
    """
    asked = {rule.quantity: QUANTITIES[rule.quantity] for rule in rules}
    measures = {name: quantity.measure(store, image_text) for name, quantity in asked.items()}
    columns = {column for quantity in asked.values() for column in quantity.columns}
    for index, row in enumerate(read_rows(store, sorted(columns))):
        values = {name: measure.values(row) for name, measure in measures.items()}
        broken = next((number for number, rule in enumerate(rules) if not rule.holds(values[rule.quantity])), None)
        if index in dropped:
            broken = len(rules)
        if broken is None:
            for measure in measures.values():
                measure.keep()
        yield broken
