"""What to train: everything that the weights of a segmenter follow from; and who hears how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.segmentation.model_folder import Identity
from dataset_diffusion.segmentation.sampling import LabelledImages


@dataclass(frozen=True, eq=False)
class TrainingTask:
    """What to train, on which images and where.

    Attributes:
        data: images "3 h w" (uint8, or floats in [0, 1]) and label maps "h w" (0 background, 1..K, 255 ignored). Every
            draw reads it: on the CPU keep it in memory where it fits, see `SegmentationData`.
        class_set: what the ids mean.
        real: other images, whose labels are true, mixed in with the share ``settings.real_ratio``.
        data_id: what identifies the data, such as a hash; a folder trained on other data is refused.
        round: which of the rounds 0 to ``settings.self_training`` this is; None is the last.
        start: folder of a model of the same segmenter to go on from; None takes random weights, or pretrained ones.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; None takes the best one there is.
        checkpoint_every: steps between checkpoints.
    """

    data: LabelledImages
    class_set: ClassSet
    settings: TrainSettings
    seed: int
    real: LabelledImages | None = None
    data_id: str = ""
    round: int | None = None
    start: Path | None = None
    device: str | None = None
    checkpoint_every: int = 200

    @property
    def identity(self) -> Identity:
        """What the folder of this round says that it holds."""
        settings = self.settings.model_copy(update={"self_training": self._round})
        num_images = len(self.data) + (0 if self.real is None else len(self.real))
        return Identity(self.class_set, settings, self.seed, num_images, self.data_id)

    @property
    def earlier_steps(self) -> int:
        """Steps of the rounds before this one."""
        return self._round * self.settings.iterations

    @property
    def total_steps(self) -> int:
        """Steps of all rounds."""
        return (self.settings.self_training + 1) * self.settings.iterations

    @property
    def _round(self) -> int:
        return self.settings.self_training if self.round is None else self.round


class TrainingListener:
    """Told of every step and of every image labelled between rounds. This one does nothing: override what you need."""

    def on_step(self, step: int, total: int, loss: float) -> None:
        """A step is done; ``step`` and ``total`` count those of all rounds."""

    def on_label(self, images: int, total: int) -> None:
        """An image is labelled anew, between two rounds; ``images`` of ``total`` are done."""


SILENT = TrainingListener()
"""Nobody listens."""
