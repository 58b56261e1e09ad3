"""A whole run's settings, which a recipe holds. Imports no torch."""

from __future__ import annotations

from dataset_diffusion.config.base import Settings
from dataset_diffusion.config.dataset import FilterSettings, GenerateSettings, LabelOptions, PromptSettings
from dataset_diffusion.config.segmenter import EvaluateSettings, RedrawSettings, TrainSettings, TurnSettings


class RunConfig(Settings):
    """A whole run: the settings of every stage, and the one seed that everything follows from."""

    seed: int = 0
    """The run's seed."""
    prompts: PromptSettings = PromptSettings()
    generate: GenerateSettings = GenerateSettings()
    label: LabelOptions = LabelOptions()
    calibrate: TurnSettings = TurnSettings()
    filter: FilterSettings = FilterSettings()
    train: TrainSettings = TrainSettings()
    redraw: RedrawSettings = RedrawSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
