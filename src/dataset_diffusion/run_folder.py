"""What is where in the folders of a run and of a segmenter. Each name is said once, here. Imports no torch."""

from __future__ import annotations

from pathlib import Path

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
"""Of a segmenter's folder: written last, so that its presence means finished."""
CHECKPOINT = "training.ckpt"
TRAINING_LOG = "training_log.jsonl"
"""One JSON object a step: ``step`` (1..iterations), ``loss``, ``learning_rate``."""


class RunFolder:
    """The folder of a run, whether or not it is there.

    Attributes:
        path: the folder.
        config: the resolved recipe; a run of another recipe is refused.
        prompts: class set, then one prompt a line.
        dataset: folder of the generated dataset.
        filtered: folder of the samples of it that pass the recipe's rules.
        model: folder of the trained segmenter.
        reading: of a turn, what its segmenter taught.
        turns: folder of the turns of learning to read, see `turn`.
        rounds: folder of the rounds of redrawing, see `round`.
        weakness: of a round, what the segmenter before it is weak at.
        results: the segmenter's scores.
        examples: a few images of the benchmark with their truth and the prediction, for the page.
        report: the page about the run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.prompts = path / "prompts.jsonl"
        self.dataset = path / "dataset"
        self.filtered = path / "filtered"
        self.model = path / "model"
        self.turns = path / "turns"
        self.rounds = path / "rounds"
        self.weakness = path / "weakness.json"
        self.reading = path / "reading.json"
        self.results = path / "results.json"
        self.examples = path / "examples.parquet"
        self.report = path / "report.html"

    def turn(self, number: int) -> RunFolder:
        """A turn of learning to read, from 0: its segmenter, the reading that taught, and the dataset read by that."""
        return RunFolder(self.turns / str(number))

    def round(self, number: int) -> RunFolder:
        """A round of redrawing, from 1: what was weak, the prompts and the dataset that were made for that, and unless
        it is the last the segmenter. Round 0 has the first segmenter alone.
        """
        return RunFolder(self.rounds / str(number))

    @property
    def labelled(self) -> Path:
        """The dataset whose labels count: the last turn's, or else the generated one."""
        return [self.dataset, *_datasets(self.turns)][-1]

    @property
    def redrawn(self) -> list[Path]:
        """The datasets of the rounds of redrawing that are there, in order."""
        return _datasets(self.rounds)

    @property
    def is_begun(self) -> bool:
        """Whether it holds what is made before anything is scored."""
        return self.prompts.exists() or self.dataset.is_dir() or self.model.is_dir()


def _datasets(numbered: Path) -> list[Path]:
    """The datasets in folders that have numbers for names, in their order."""
    return sorted(numbered.glob("*/dataset"), key=lambda folder: (len(folder.parent.name), folder.parent.name))
