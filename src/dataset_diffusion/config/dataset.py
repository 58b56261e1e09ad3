"""The settings of the stages that make a dataset. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator

from dataset_diffusion.config.base import (
    AdapterName,
    Dtype,
    Fraction,
    NameOrFile,
    NameOrFolder,
    PositiveInt,
    RecipePath,
    Settings,
    Side,
)
from dataset_diffusion.config.machine import MachineSettings
from dataset_diffusion.errors import ConfigError

STORED_EXPONENTS = (0, 1, 2, 4, 8)
"""The self-attention exponents whose heatmaps a dataset keeps, so that relabelling needs no model."""

Refinement = Literal["none", "pamr", "fast", "sam2", "sam3"]
ClassesFrom = Literal["captions", "captioner", "names", "folders", "presence"]
Writer = Literal["templates", "scenes", "llm"]
ExportFormat = Literal[
    "voc", "coco", "yolo", "yolo-semantic", "huggingface", "webdataset", "png", "cvat", "label-studio"
]
Scheduler = Literal["ddim", "dpm-solver++", "euler", "lcm", "pndm", "unipc"]


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
    writer: Writer = "templates"
    """Who writes captions where none are given: `templates` of class names, `scenes`, a grammar of places, light and
    views, or `llm`, a chat model."""
    llm: NameOrFolder = "Qwen/Qwen2.5-1.5B-Instruct"
    """The chat model of the writer `llm`: a hub id, or a local folder of a causal language model with a template."""
    words: RecipePath | None = None
    """TOML file of synonyms and look-alikes of classes, as `prompts --propose` writes it; None has no more than the
    package knows."""

    @field_validator("writer")
    @classmethod
    def _check_writer(cls, writer: str, info: Any) -> str:
        if writer != "templates" and info.data.get("captions") is not None:
            raise ValueError("no --captions beside it, which nobody has to write")
        return writer


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
    lora: tuple[AdapterName, ...] | None = Field(default=None, exclude_if=lambda adapters: not adapters)
    """LoRA adapters, each a safetensors file or a hub id (owner/name) with its scale after a colon, as FILE:0.8.
    None uses none."""
    tiny_decoder: NameOrFolder | None = Field(default=None, exclude_if=lambda name: name is None)
    """AutoencoderTiny that makes images of latents, a hub id or folder; None takes the model's own autoencoder."""
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
    dtype: Dtype | None = None
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


# The options of the last base come first.
class GenerateSettings(MachineSettings, ImageSettings):
    """How images are generated."""


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

    @field_validator("segments", check_fields=False)
    @classmethod
    def _check_use(cls, segments: str | None, info: Any) -> str | None:
        if segments is not None and info.data.get("refine") not in ("sam2", "sam3"):
            raise ValueError("left out unless refine is sam2 or sam3")
        return segments

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
    smaller copy of it, which is the same up to 192 pixels; `sam2` and `sam3` to those of a model's segments."""
    segments: NameOrFolder | None = Field(default=None, exclude_if=lambda weights: weights is None)
    """Weights for `sam2` or `sam3`, a hub id or folder; None takes facebook/sam2.1-hiera-small or facebook/sam3."""


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
    smaller copy of it, which is the same up to 192 pixels; `sam2` and `sam3` to those of a model's segments."""
    segments: NameOrFolder | None = Field(default=None, exclude_if=lambda weights: weights is None)
    """Weights for `sam2` or `sam3`, a hub id or folder; None takes facebook/sam2.1-hiera-small or facebook/sam3."""


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
    dtype: Dtype | None = None
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


class FilterSettings(Settings):
    """Which images are worth training on."""

    rules: tuple[str, ...] = ()
    """What every image must pass, as in `presence >= 0.4`; without any, all are trained on."""
    image_text: NameOrFolder = "openai/clip-vit-base-patch32"
    """The CLIP model that rules about image_text ask: a hub id, or a local folder."""


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
    crowd: bool = True
    """Keep the uncertain pixels, as a crowd annotation of category 255; a choice of coco alone."""
    counts: Literal["string", "list"] = "string"
    """Run lengths as pycocotools' strings or as lists of numbers, which transformers reads; a choice of coco alone."""
    licence: str | None = None
    """Licence of the model's outputs, to be stated in the dataset card; None says that it is not stated."""

    @field_validator("polygons", "instances", "crowd", "counts")
    @classmethod
    def _check_choice(cls, chosen: Any, info: Any) -> Any:
        if chosen != cls.model_fields[info.field_name].default and info.data.get("format") != "coco":
            raise ValueError(f"--format coco, the only one with this choice, not {info.data.get('format')}")
        return chosen
