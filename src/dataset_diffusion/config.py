"""Every setting of a run. One frozen model per stage; TOML in, resolved JSON out. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from dataset_diffusion.errors import ConfigError

STORED_EXPONENTS = (0, 1, 2, 4, 8)
"""The self-attention exponents whose heatmaps a dataset keeps, so that relabelling needs no model."""

NO_BENCHMARK = "none"
"""In the place of a benchmark's name; TOML has no null."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
Side = Annotated[int, Field(ge=1, le=16384)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
Augmentation = Literal["light", "published"]
Refinement = Literal["none", "pamr", "fast"]
ClassesFrom = Literal["captions", "captioner", "names", "folders", "presence"]
ExportFormat = Literal["voc", "coco", "yolo", "huggingface", "webdataset", "png"]
Scheduler = Literal["ddim", "dpm-solver++", "euler", "lcm", "pndm", "unipc"]
AnySettings = TypeVar("AnySettings", bound="Settings")
AnyValue = TypeVar("AnyValue")


def _resolve_path(path: Path, info: Any) -> Path:
    return path if info.context is None else cast(Path, info.context.resolve_path(path))


def _resolve_name(name: str, info: Any) -> str:
    return name if info.context is None else cast(str, info.context.resolve_name(name))


def _resolve_file(name: str, info: Any) -> str:
    return name if info.context is None else cast(str, info.context.resolve_file(name))


# The context of a validation is the recipe that the settings are from; on the command line there is none.
RecipePath = Annotated[Path, AfterValidator(_resolve_path)]
"""A file or folder; in a recipe, relative to the recipe."""
NameOrFolder = Annotated[str, AfterValidator(_resolve_name)]
"""A name that is known here or on a hub, or a folder; in a recipe, a folder is relative to the recipe."""
NameOrFile = Annotated[str, AfterValidator(_resolve_file)]
"""A name that is known here, or a file; in a recipe, a file is relative to the recipe."""


class Settings(BaseModel):
    """Base of all settings: frozen, unknown keys refused, NaN and infinity refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PromptSettings(Settings):
    """What prompts are made of: classes and captions."""

    classes: str | tuple[str, ...] = "emoji"
    """A class set by name (voc, coco, emoji, ...) or your own class names."""
    captions: RecipePath | None = None
    """File of captions, or folder of photos to caption; without one, captions are made from templates."""
    instances: RecipePath | None = None
    """File of COCO instances, to name all classes annotated in a caption's image; None names those it mentions, or
    with the class set coco takes the file beside the captions."""
    captioner: NameOrFolder = "Salesforce/blip-image-captioning-base"
    """What captions a folder of photos: a hub id, or a local folder of an image-to-text model."""
    num_images: Annotated[int, Field(ge=1, le=2**31 - 1)] = 240
    """Number of images."""


class CaptureSettings(Settings):
    """Which attention is read while an image is generated. None takes the model spec's choice."""

    cross_attention_resolution: PositiveInt | None = None
    """Resolution of the cross-attention maps: the grid's shorter side at the model's own image size, in cells."""
    self_attention_resolution: PositiveInt | None = None
    """Resolution of the self-attention maps: the grid's shorter side at the model's own image size, in cells."""
    cross_attention_layers: tuple[str, ...] | None = None
    """Layers whose cross-attention is averaged, by the start of their name (mid_block, up_blocks.1, ...)."""
    self_attention_layers: tuple[str, ...] | None = None
    """Layers whose self-attention is averaged, by the start of their name."""
    prompt: Literal["class", "text"] = "class"
    """Read attention against the class prompt alone (the paper's way) or against the text prompt's class words."""
    steps: Literal["all", "first-half", "last-half"] = "all"
    """The part of the denoising steps in which attention is read."""
    every: PositiveInt = 1
    """Read attention in every n-th step of that part, from its first on."""


class ImageSettings(Settings):
    """What is generated. A dataset's samples follow from these settings, so they cannot change while it grows."""

    model: NameOrFolder = "embedded"
    """Model by name, hub id (owner/name, owner/name@commit), or a local diffusers folder."""
    steps: PositiveInt | None = None
    """Denoising steps; None takes the model's own."""
    scheduler: Scheduler | None = None
    """Denoising scheduler; None takes the model's own."""
    guidance_scale: Annotated[float, Field(ge=1.0)] | None = None
    """Classifier-free guidance scale; 1 turns guidance off, None takes the model's own."""
    negative_prompt: str | None = None
    """What the image should not show, which takes guidance; None takes the model's own."""
    height: Side | None = None
    """Image height in pixels; None takes the model's own."""
    width: Side | None = None
    """Image width in pixels; None takes the model's own."""
    dtype: Literal["float32", "float16", "bfloat16"] | None = None
    """Floating-point type of the model; None takes the model's own, on the CPU float32."""
    vae_tiling: bool = False
    """Decode large images tile by tile, for small cards; the seams change pixels."""
    shard_size: PositiveInt = 64
    """Samples per shard of the dataset."""
    image_format: Literal["png", "jpeg"] = "png"
    """How images are stored; label maps are always PNG."""
    reading: NameOrFile | None = None
    """How attention becomes heatmaps: plain, published, or a file of `calibrate`; None takes the model's own."""
    read: Literal["drawing", "drawn"] | None = None
    """Read attention while an image is drawn, or by one more look at the finished one; None takes the reading's own."""
    capture: CaptureSettings = CaptureSettings()


class MachineSettings(Settings):
    """How the machine computes it. Only rounding depends on these settings, so a dataset can be resumed with others."""

    device: str | None = None
    """cpu, cuda, cuda:1, mps; None takes the best one there is."""
    batch_size: PositiveInt = 16
    """Images generated at once."""
    compile: bool = False
    """Compile the UNet's blocks and the image decoder: faster after a first batch that takes minutes."""
    channels_last: bool = False
    """Keep images channels-last in memory, which tensor cores read faster."""
    vae_slicing: bool = False
    """Decode the images of a batch one at a time, for small cards."""
    cpu_offload: bool = False
    """Keep on the GPU only the part of the model that is computing, for small cards."""


MACHINE_SETTINGS = frozenset(f"generate.{name}" for name in MachineSettings.model_fields)
"""Their names in a recipe: settings that a dataset or a run may be resumed with others of."""


# The options of the last base come first.
class GenerateSettings(MachineSettings, ImageSettings):
    """How images are generated."""


def _only_with_ray(value: AnyValue, info: Any) -> AnyValue:
    if value is not None and info.data.get("executor") != "ray":
        raise ValueError("--executor ray, the only one that takes it")
    return value


class WorkerSettings(Settings):
    """Where work is done. The results are the same bytes everywhere."""

    executor: Literal["local", "ray"] = "local"
    """`local` works here, `ray` in the workers of a Ray cluster."""
    num_workers: PositiveInt | None = None
    """Processes; None takes one per core."""
    address: Annotated[str | None, AfterValidator(_only_with_ray)] = None
    """Address of a running Ray cluster, `auto` to find it; None starts one on this machine."""


class ModelWorkerSettings(WorkerSettings):
    """Where work is done that takes a model: this process has one, and every worker of a Ray cluster its own."""

    num_workers: Annotated[PositiveInt | None, AfterValidator(_only_with_ray)] = None
    """Workers of `ray`; None takes one per GPU or, where there is none, as many as the CPU cores allow."""


class ExecutorSettings(ModelWorkerSettings):
    """Where the images of a dataset are generated, and which of them."""

    part: str | None = None
    """`K/N`: fill every N-th shard from the K-th on, as one of N jobs that fill a dataset; None fills all shards."""

    @field_validator("part")
    @classmethod
    def _check_part(cls, part: str | None) -> str | None:
        numbers = re.fullmatch(r"(\d{1,9})/(\d{1,9})", part or "1/1")
        if numbers is None or not 1 <= int(numbers[1]) <= int(numbers[2]):
            raise ValueError("K/N with K from 1 to N")
        return part

    def shards_of(self, num_shards: int) -> range:
        """The shards of the part, where the dataset has ``num_shards``."""
        first, step = map(int, (self.part or "1/1").split("/"))
        return range(first - 1, num_shards, step)


class _CheckedLabels(Settings):
    @field_validator("exponent", check_fields=False)
    @classmethod
    def _check_stored(cls, exponent: int | None) -> int | None:
        if exponent not in (None, *STORED_EXPONENTS):
            raise ValueError(f"one of {', '.join(map(str, STORED_EXPONENTS))}")
        return exponent

    @field_validator("uncertainty_threshold", check_fields=False)
    @classmethod
    def _check_order(cls, uncertainty_threshold: float | None, info: Any) -> float | None:
        threshold = info.data.get("threshold")
        if None not in (threshold, uncertainty_threshold) and uncertainty_threshold > threshold:
            raise ValueError(f"at most the threshold, {threshold}")
        return uncertainty_threshold

    def resolve(self, own: LabelSettings) -> LabelSettings:
        """What is asked for, and the reading's own where nothing is; a ConfigError where they do not fit."""
        chosen = own.model_dump() | self.model_dump(exclude_none=True)
        alpha, beta = chosen["threshold"], chosen["uncertainty_threshold"]
        if alpha < beta:
            raise ConfigError(
                "the threshold is below the uncertainty threshold that fits the reading",
                got=f"{alpha} and {beta}",
                fix="give both",
            )
        return LabelSettings.model_validate(chosen)


class LabelSettings(_CheckedLabels):
    """How heatmaps become a label map."""

    # So that a threshold below the default of the uncertainty threshold is refused too.
    model_config = ConfigDict(validate_default=True)

    exponent: int = 4
    """Number of self-attention products (tau): 0, 1, 2, 4 or 8."""
    threshold: Fraction = 0.6
    """A pixel whose highest heatmap is at least this is labelled (alpha, 0 to 1)."""
    uncertainty_threshold: Fraction = 0.5
    """From this up to the threshold a pixel is uncertain and ignored; below, background (beta, 0 to the threshold)."""
    refine: Refinement = "none"
    """`pamr` moves the labels' borders to those in the image (pixel-adaptive mask refinement); `fast` does so on a
    smaller copy of it, which is the same up to 192 pixels."""


class LabelOptions(_CheckedLabels):
    """How heatmaps become a label map, as far as it is asked for. None takes what fits the reading."""

    exponent: int | None = None
    """Number of self-attention products (tau): 0, 1, 2, 4 or 8 (published: 4)."""
    threshold: Fraction | None = None
    """A pixel whose highest heatmap is at least this is labelled (alpha, 0 to 1; published: 0.6)."""
    uncertainty_threshold: Fraction | None = None
    """From this up to the threshold a pixel is uncertain and ignored; below, background (beta; published: 0.5)."""
    refine: Refinement | None = None
    """`pamr` moves the labels' borders to those in the image (pixel-adaptive mask refinement); `fast` does so on a
    smaller copy of it, which is the same up to 192 pixels."""


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


class AnnotateSettings(Settings):
    """How given photos are read, and which classes are looked for in each."""

    # So that a file that is not given is missed.
    model_config = ConfigDict(validate_default=True)

    classes: str | tuple[str, ...] = "emoji"
    """A class set by name (voc, coco, emoji, ...) or your own class names with commas between."""
    classes_from: ClassesFrom | None = None
    """What says which classes a photo shows: `captions`, a `captioner`, a table of `names`, its `folders`, or
    `presence`, what the model sees of all of them; None takes the file that is given, else `folders` if all are
    named as classes, else `presence`."""
    captions: RecipePath | None = None
    """File of captions by the photos' names: COCO JSON, Flickr, CSV or JSON lines with file_name and caption."""
    names: RecipePath | None = None
    """Table (CSV, TSV, JSON lines) with the columns file_name and classes, `;` between the classes of a photo."""
    captioner: NameOrFolder = "Salesforce/blip-image-captioning-base"
    """What captions photos: a hub id, or a local folder of an image-to-text model."""
    model: NameOrFolder = "embedded"
    """Model by name, hub id (owner/name, owner/name@commit), or a local diffusers folder."""
    reading: NameOrFile | None = None
    """How attention becomes heatmaps: plain, published, or a file of `calibrate`; None takes the model's own."""
    presence_threshold: Annotated[float, Field(ge=0.0)] = 2.9
    """A class is in a photo where it draws more attention than usual: by so many median absolute deviations above its
    median over all photos (0 or more)."""
    dtype: Literal["float32", "float16", "bfloat16"] | None = None
    """Floating-point type of the model; None takes the model's own, on the CPU float32."""
    shard_size: PositiveInt = 64
    """Samples per shard of the dataset."""
    image_format: Literal["png", "jpeg"] = "png"
    """How photos are stored; label maps are always PNG."""

    @field_validator("captions", "names")
    @classmethod
    def _check_source(cls, file: Path | None, info: Any) -> Path | None:
        source = info.data.get("classes_from")
        if file is None and source == info.field_name:
            raise ValueError(f"a file, for --classes-from {source}")
        if file is not None and source not in (None, info.field_name):
            raise ValueError(f"--classes-from {info.field_name}, not {source}")
        if file is not None and info.data.get("captions") is not None:
            raise ValueError("--captions or --names, not both")
        return file

    @property
    def source(self) -> ClassesFrom | None:
        """What says which classes a photo shows, as far as the settings say it."""
        given: ClassesFrom | None = "captions" if self.captions else "names" if self.names else None
        return self.classes_from or given


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


class FilterSettings(Settings):
    """Which images are worth training on."""

    rules: tuple[str, ...] = ()
    """What every image must pass, as in `presence >= 0.4`; without any, all are trained on."""
    image_text: NameOrFolder = "openai/clip-vit-base-patch32"
    """The CLIP model that rules about image_text ask: a hub id, or a local folder."""


class TrainSettings(Settings):
    """How the segmenter is trained."""

    segmenter: str = "unet-resnet18"
    """Segmenter by name: unet-resnet18, deeplabv3-resnet18, deeplabv3-resnet50, deeplabv3-resnet101,
    mask2former-small, mask2former-resnet50,
    segformer-b0, segformer-b1, segformer-b2, segformer-b3, segformer-b4, segformer-b5."""
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
    """`light` crops and flips, for short trainings; `published` also resizes and distorts colours, for long ones."""
    pretrained: bool = False
    """Start the encoder from ImageNet weights."""
    precision: Literal["fp32", "bf16", "fp16"] | None = None
    """Number format of the computation; bf16 and fp16 are mixed with fp32, None takes bf16 where it is fast."""
    self_training: NonNegativeInt = 0
    """Rounds of self-training: the trained segmenter labels the synthetic images and is trained on with its labels."""
    self_training_confidence: Fraction = 0.8
    """A pixel whose most probable class is below this is ignored in the next round (0 to 1)."""
    real: NameOrFolder | None = None
    """Benchmark whose real photos and label maps are trained on too, by name; None trains on the datasets alone."""
    real_root: RecipePath | None = None
    """Folder of that benchmark."""
    real_split: str | None = None
    """Split of that benchmark; None takes `train` where there is one."""
    real_ratio: Fraction = 0.5
    """Share of real images among the training images (0 to 1)."""

    @field_validator("real_root")
    @classmethod
    def _check_real(cls, real_root: Path | None, info: Any) -> Path | None:
        if real_root is not None and info.data.get("real") is None:
            raise ValueError("the benchmark's name in --real too")
        return real_root


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


class ExportSettings(Settings):
    """How a dataset is written for other tools."""

    format: ExportFormat
    """The format of the tool that is to read the files."""
    val_fraction: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the images that go to the split `val` (0 to below 1); the others are the split `train`."""
    polygons: bool = False
    """Write polygons instead of run lengths; a choice of coco alone, as yolo always does."""
    instances: bool = False
    """One annotation per connected component instead of one per class; a choice of coco alone, as yolo always does."""
    licence: str | None = None
    """Licence of the model's outputs, to be stated in the dataset card; None says that it is not stated."""

    @field_validator("polygons", "instances")
    @classmethod
    def _check_choice(cls, chosen: bool, info: Any) -> bool:
        if chosen and info.data.get("format") != "coco":
            raise ValueError(f"--format coco, the only one with this choice, not {info.data.get('format')}")
        return chosen


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
    evaluate: EvaluateSettings = EvaluateSettings()


def make_settings(kind: type[AnySettings], **values: object) -> AnySettings:
    """Settings from command-line options; a ConfigError where a value is out of range."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise as_config_error(error) from error


def config_hash(settings: Settings | dict[str, Any]) -> str:
    """Short hash of resolved settings: the same settings, the same hash, on every machine."""
    values = settings.model_dump(mode="json") if isinstance(settings, Settings) else settings
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def as_config_error(error: ValidationError, recipe: Path | None = None, group: str = "") -> ConfigError:
    """The first thing that pydantic refused, in one line.

    Validators of this module say what they expected, as in ``raise ValueError("one of 0, 1, 2")``.

    Args:
        error: what pydantic raised.
        recipe: the file that the settings are from; without one they are command-line options.
        group: the group of options that the settings are, as ``capture`` in ``--capture.every``.
    """
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    name = ".".join(filter(None, (group, *path)))
    what = f"bad value of --{name.replace('_', '-')}" if recipe is None else f"{recipe}: bad value of `{name}`"
    got = None if isinstance(first["input"], (dict, BaseModel)) else first["input"]
    got = str(got) if isinstance(got, Path) else got
    expected = re.sub("^(Value error, |Input should be )", "", first["msg"])
    if first["type"] == "extra_forbidden":
        what, got, expected = f"{recipe}: unknown setting", name, f"one of {', '.join(_names_beside(path))}"
    if error.error_count() > 1:
        what = f"{what} (the first of {error.error_count()} mistakes)"
    return ConfigError(what, got=got, expected=expected)


def _names_beside(path: list[str]) -> list[str]:
    """The settings of a recipe's table, by the path of one that does not exist."""
    table: type[BaseModel] = RunConfig
    for name in path[:-1]:
        table = cast(type[BaseModel], table.model_fields[name].annotation)
    return list(table.model_fields)
