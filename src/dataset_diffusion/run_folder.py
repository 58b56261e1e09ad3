"""What is where in the folders of a run and of a segmenter. Each name is said once, here. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
"""Of a segmenter's folder: written last, so that its presence means finished."""
CHECKPOINT = "training.ckpt"
TRAINING_LOG = "training_log.jsonl"
"""One JSON object a step: ``step`` (1..iterations), ``loss``, ``learning_rate``."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, whether or not it is there.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved recipe; a run of another recipe is refused."""
        return self.path / "config.json"

    @property
    def prompts(self) -> Path:
        """Class set, then one prompt a line."""
        return self.path / "prompts.jsonl"

    @property
    def dataset(self) -> Path:
        """Folder of the generated dataset."""
        return self.path / "dataset"

    @property
    def filtered(self) -> Path:
        """Folder of the samples of it that pass the recipe's rules."""
        return self.path / "filtered"

    @property
    def model(self) -> Path:
        """Folder of the trained segmenter."""
        return self.path / "model"

    @property
    def results(self) -> Path:
        """The segmenter's scores."""
        return self.path / "results.json"

    @property
    def examples(self) -> Path:
        """A few images of the benchmark with their truth and the prediction, for the page."""
        return self.path / "examples.parquet"

    @property
    def report(self) -> Path:
        """The page about the run."""
        return self.path / "report.html"

    @property
    def is_begun(self) -> bool:
        """Whether it holds what is made before anything is scored."""
        return self.prompts.exists() or self.dataset.is_dir() or self.model.is_dir()
