"""Readings: how a model's attention becomes one heatmap per class. Records and their file; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError, model_validator

from dataset_diffusion.config import LabelSettings, NonNegativeInt, PositiveInt, Settings
from dataset_diffusion.disk.atomic import atomic_write, explained_write_errors, remove_leftovers
from dataset_diffusion.errors import ConfigError, check_kind, first_problem


@dataclass(frozen=True)
class LayerChoice:
    """Attention layers of one resolution, whose maps are averaged over layers and heads.

    Attributes:
        resolution: the shorter side of their grid at the model's own image size, in cells.
        prefixes: how their names may start; the empty string takes every layer of the resolution.
    """

    resolution: int
    prefixes: tuple[str, ...] = ("",)


def _numbers(written: object) -> object:
    return written.split() if isinstance(written, str) else written


Numbers = Annotated[
    tuple[float, ...],
    BeforeValidator(_numbers),
    PlainSerializer(lambda numbers: " ".join(map(repr, numbers)), return_type=str, when_used="json"),
]
"""Many numbers, which JSON holds as one text: a line for people, not one a number."""


class LearnedLayers(Settings):
    """Cross-attention layers whose log-probabilities a small perceptron turns into the probability of a class.

    It sees one cell and one class at a time and has the same weights for all of them, so it knows no class. What it
    sees is said by `diffusion.learned.cell_features`.

    Attributes:
        layers: names of the layers, in the order of the features.
        heads: how many maps each layer gives: its heads, or 1 where they are averaged.
        start_token: whether the features compare each class with the start token of the prompt.
        competition: whether the features hold those of the strongest other class of the prompt.
        hidden: weights, one row a unit and one column a feature.
        hidden_bias: one a unit.
        output: weights, one a unit.
        output_bias: of the logit.
    """

    layers: Annotated[tuple[str, ...], Field(min_length=1)]
    heads: tuple[PositiveInt, ...]
    start_token: bool = True
    competition: bool = True
    hidden: tuple[Numbers, ...]
    hidden_bias: Numbers
    output: Numbers
    output_bias: float

    @property
    def num_features(self) -> int:
        """Features of one cell and class."""
        return sum(self.heads) * (4 if self.start_token else 2) * (2 if self.competition else 1)

    @model_validator(mode="after")
    def _check_shapes(self) -> LearnedLayers:
        rows = {len(row) for row in self.hidden}
        if len(self.heads) != len(self.layers) or rows != {self.num_features}:
            raise ValueError(f"rows of {self.num_features} weights, for {len(self.layers)} layers")
        if not len(self.hidden) == len(self.hidden_bias) == len(self.output):
            raise ValueError("as many biases and outputs as hidden units")
        return self


class Learning(Settings):
    """What a reading was learned from.

    Attributes:
        pictures: a dataset or a benchmark.
        target: what said where each class is: ``labels`` that came with the pictures, or a segmenter's folder.
        num_images: pictures that it was fitted on.
        kept_back: pictures that the scores are of, none of which it was fitted on.
        seed: of the split and of the first weights.
        asked: hash of all that it follows from.
    """

    pictures: str
    target: str
    num_images: PositiveInt
    kept_back: NonNegativeInt
    seed: int
    asked: str = ""


class Reading(Settings):
    """How attention becomes one heatmap per class, and how heatmaps are best labelled.

    Attributes:
        name: what it is called: ``plain``, ``published``, or that of its file.
        model: fingerprint of the only model that it can read; None reads any.
        cross_attention: the layers that say where a class is, averaged or by learned weights.
        self_attention: the layers along which that is spread (self-attention exponentiation), averaged.
        prompt: read against the class prompt alone, or against the class words of the text prompt.
        when: while a picture is drawn, or once it is finished, as given pictures are.
        steps: the part of the denoising steps that is read while drawing.
        every: of that part, every n-th step.
        timesteps: noise levels at which finished and given pictures are read, in training timesteps.
        label: exponent, thresholds and refinement that fit its heatmaps.
        learned_from: None where nothing was learned.
        scores: mIoU on the pictures kept back, by what was read.
    """

    name: str
    model: str | None = None
    cross_attention: LayerChoice | LearnedLayers
    self_attention: LayerChoice
    prompt: Literal["class", "text"] = "class"
    when: Literal["drawing", "drawn"] = "drawing"
    steps: Literal["all", "first-half", "last-half"] = "all"
    every: PositiveInt = 1
    timesteps: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)]
    label: LabelSettings = LabelSettings()
    learned_from: Learning | None = None
    scores: dict[str, float] = Field(default_factory=dict)

    def save(self, file: Path) -> None:
        """Write it as JSON, whole or not at all, in a folder that is made if need be."""
        with explained_write_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, self.model_dump_json(indent=1).encode() + b"\n")
        remove_leftovers(file)

    @classmethod
    def load(cls, file: Path | str) -> Reading:
        """Read a file that `save` wrote.

        Raises:
            ConfigError: there is no such file, or it holds no reading.
        """
        check_kind(file, (str, Path), "file of a reading")
        try:
            return cls.model_validate_json(Path(file).read_bytes())
        except OSError as error:
            raise ConfigError(
                "cannot read the reading", got=f"{file} ({error.strerror})", fix="dataset-diffusion calibrate makes one"
            ) from error
        except ValidationError as error:
            raise ConfigError("not a reading", got=f"{file}: {first_problem(error)}") from error
