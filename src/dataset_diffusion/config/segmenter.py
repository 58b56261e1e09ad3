"""The settings of the stages around a segmenter: training, testing, learning to read attention. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from dataset_diffusion.config.base import (
    Fraction,
    NameOrFolder,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    RecipePath,
    Settings,
)
from dataset_diffusion.config.dataset import Refinement

NO_BENCHMARK = "none"
"""In the place of a benchmark's name; TOML has no null."""

Augmentation = Literal["light", "published", "strong"]
SelfTraining = Literal["continued", "published"]
ModelFormat = Literal["onnx", "torchscript"]


class LearnSettings(Settings):
    """How a reading is learned."""

    num_images: Annotated[int, Field(ge=8)] = 256
    """Pictures to take."""
    kept_back: Annotated[float, Field(ge=0.0, le=0.5)] = 0.25
    """Share of them that nothing is learned from: the scores are theirs (0 to 0.5)."""
    timesteps: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (1, 101, 301)
    """Noise levels to try, in training timesteps; the best one is kept."""
    refine: Refinement = "fast"
    """Boundary refinement that the thresholds are chosen for."""
    uncertain: Fraction = 0.05
    """Share of pixels that the uncertainty band is to hold (0 to 1)."""
    confidence: Fraction = 0.0
    """A pixel of which the teacher is less sure is not learned from (0 to 1)."""


class TurnSettings(LearnSettings):
    """Turns of learning to read: the segmenter teaches how attention is read, the pictures are read and labelled again,
    and a new segmenter is trained on that.
    """

    turns: NonNegativeInt = 0
    """Turns before the segmenter that counts; 0 trains on the first labels."""


class RedrawSettings(Settings):
    """Rounds of redrawing: more pictures of what the segmenter is weak at, which it is trained on with all others."""

    rounds: NonNegativeInt = 0
    """Rounds after the first training; 0 trains once."""
    num_images: PositiveInt = 240
    """Pictures drawn in each round."""
    share: Fraction = 0.5
    """How far the classes and pairs of these follow the segmenter's weakness: 0 names all alike, 1 each as often as it
    is weak beside the others."""


class CalibrateSettings(LearnSettings):
    """What a reading is learned from."""

    model: NameOrFolder | None = None
    """The model whose attention is read; None takes the one that made the dataset."""
    teacher: RecipePath | None = None
    """Folder of a trained segmenter that says where the classes of each prompt are, so that no mask is needed; None
    believes the pictures' own label maps."""
    benchmark: NameOrFolder | None = None
    """Labelled pictures to learn from, by a benchmark's name or a labelled dataset's folder, instead of a dataset."""
    root: RecipePath | None = None
    """Folder of that benchmark."""
    split: str | None = None
    """Split of that benchmark; None takes the one that papers report."""


class TrainSettings(Settings):
    """How the segmenter is trained."""

    segmenter: str = "unet-resnet18"
    """Segmenter by name: unet-resnet18, unet-efficientnet-lite0, deeplabv3-resnet18, deeplabv3-resnet50,
    deeplabv3-resnet101, deeplabv3-resnet50-published, deeplabv3-resnet101-published,
    mask2former-small, mask2former-resnet50,
    segformer-b0, segformer-b1, segformer-b2, segformer-b3, segformer-b4, segformer-b5; or your own as module:function
    (docs/segmenters.md). From Python the function itself."""
    iterations: PositiveInt = 1000
    """Optimiser steps."""
    batch_size: PositiveInt = 16
    """Images per optimiser step, over all devices."""
    accumulate: PositiveInt = 1
    """Parts that each step's images are split into and computed one after the other; more parts need less memory."""
    learning_rate: PositiveFloat = 1e-3
    """AdamW's peak learning rate; polynomial decay to 0."""
    encoder_learning_rate_factor: PositiveFloat = 1.0
    """The encoder's learning rate as a multiple of the other parts' (published for ImageNet weights: 0.1)."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 1e-4
    """AdamW's weight decay."""
    gradient_clip: PositiveFloat = 0.01
    """Largest norm of the gradient; AdamW does not depend on its scale."""
    ema_decay: Fraction = 0.99
    """Decay of the running average of the weights; 0 turns it off."""
    crop_size: PositiveInt | None = None
    """Height and width of the crops trained on, in pixels; None takes the size of the first image."""
    augmentation: Augmentation = "light"
    """`light` crops and flips, for short trainings; `published` also resizes and distorts colours, for long ones;
    `strong` also turns, shears, greys and blurs."""
    robustness: Fraction = 0.0
    """q of the generalised cross-entropy (Zhang and Sabuncu 2018): 0 is cross-entropy; the nearer to 1, the less a
    label counts that the segmenter finds unlikely."""
    weigh_pixels: bool = False
    """Count every pixel of a dataset by how sure its label is, instead of ignoring those in the uncertainty band."""
    pretrained: bool = False
    """Start the encoder from ImageNet weights."""
    precision: Literal["fp32", "bf16", "fp16"] | None = None
    """Number format of the computation; bf16 and fp16 are mixed with fp32, None takes bf16 where it is fast."""
    self_training: NonNegativeInt = 0
    """Rounds of self-training: the trained segmenter labels the synthetic images and is trained on with its labels."""
    self_training_confidence: Fraction = 0.8
    """A pixel whose most probable class is below this is ignored in the next round (0 to 1)."""
    self_training_method: SelfTraining | None = None
    """`continued` labels by an image and its mirror image, where it is confident, and trains the weights on;
    `published` takes the most probable class everywhere and begins with new weights; None takes `continued`."""
    self_training_classes: Literal["all", "prompt"] = "all"
    """Classes that a round may find in an image: `all`, or those that its `prompt` names."""
    self_training_attention: Fraction = 0.0
    """Share of the attention's reading in a round's labels; the rest is what the segmenter says (0 to 1)."""
    real: NameOrFolder | None = None
    """Benchmark whose real photos and label maps are trained on too, by name; None trains on the datasets alone."""
    real_root: RecipePath | None = None
    """Folder of that benchmark."""
    real_split: str | None = None
    """Split of that benchmark; None takes `train` where there is one."""
    real_ratio: Fraction = 0.5
    """Share of real images among the training images (0 to 1)."""

    @field_validator("segmenter", mode="before")
    @classmethod
    def _name_function(cls, segmenter: object) -> object:
        return _import_path(segmenter) if callable(segmenter) else segmenter

    @field_validator("real_root")
    @classmethod
    def _check_real(cls, real_root: Path | None, info: Any) -> Path | None:
        if real_root is not None and info.data.get("real") is None:
            raise ValueError("the benchmark's name in --real too")
        return real_root


class PredictSettings(Settings):
    """How photos are shown to a segmenter."""

    sliding_window: PositiveInt = 1024
    """Side of the square window that larger photos are predicted by, in pixels."""
    batch_size: PositiveInt = 8
    """Neighbouring photos predicted at once, where they have the same size."""


class ExportModelSettings(Settings):
    """As what a trained segmenter is handed on."""

    format: ModelFormat = "onnx"
    """`onnx` runs in onnxruntime and what is made of it, `torchscript` in torch and libtorch."""
    size: PositiveInt | None = None
    """Height and width of the pictures that the file takes, in pixels; None takes any, where the segmenter can."""


class EvaluateSettings(Settings):
    """What the segmenter is tested on."""

    benchmark: NameOrFolder = "scenes"
    """Benchmark by name (docs/benchmarks.md), or a labelled dataset's folder; in recipes, `none` ends with training."""
    root: RecipePath | None = None
    """Folder of the benchmark; not needed for `scenes`, which ships with the embedded model."""
    split: str | None = None
    """Split of the benchmark (val, test, DIS-TE1, ...); None takes the one that papers report."""
    tta: bool = False
    """Test-time augmentation: average the predictions over several scales of the image, each also mirrored."""
    scales: tuple[PositiveFloat, ...] | None = None
    """Scales the image is seen at; None takes 1, with --tta the published 0.5 to 1.75."""
    short_side: PositiveInt | None = None
    """Pixels of the shorter side at scale 1 (published: 512); None keeps the image's own size."""
    sliding_window: PositiveInt | None = None
    """Side of the square window that large images are predicted by, in pixels; None predicts them whole."""
    stride: PositiveInt | None = None
    """Pixels from one window to the next, at most its side; None takes two thirds of it."""
    batch_size: PositiveInt = 8
    """Images predicted at once, where they have the same size."""

    @field_validator("stride")
    @classmethod
    def _check_stride(cls, stride: int | None, info: Any) -> int | None:
        window = info.data.get("sliding_window")
        if stride is not None and (window is None or stride > window):
            raise ValueError(f"at most the --sliding-window, {'which is not given' if window is None else window}")
        return stride


def _import_path(function: Any) -> str:
    """Where a function or class can be imported from again."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "<")
    if module in {None, "__main__"} or "<" in name:
        raise ValueError("a function or class of a module that can be imported, which a saved segmenter needs")
    return f"{module}:{name}"
