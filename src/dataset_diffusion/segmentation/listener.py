"""Who hears how far a training is."""

from __future__ import annotations


class TrainingListener:
    """Told of every step and of every image labelled between rounds. This one does nothing: override what you need."""

    def on_step(self, step: int, total: int, loss: float) -> None:
        """A step is done.

        Args:
            step: how many are done, those of the rounds before included.
            total: how many there are in all rounds.
            loss: of this step.
        """

    def on_label(self, images: int, total: int) -> None:
        """An image is labelled anew, between two rounds.

        Args:
            images: how many are done.
            total: how many there are.
        """


SILENT = TrainingListener()
"""Nobody listens."""
