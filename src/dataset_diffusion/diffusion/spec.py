"""What needs to be known of a model beyond its own files, and what follows from it where a setting is left open."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from dataset_diffusion.config import CaptureSettings, ImageSettings
from dataset_diffusion.diffusion.adapters import Adapter
from dataset_diffusion.diffusion.tiny_decoder import TinyDecoder
from dataset_diffusion.errors import ConfigError, check_kind, did_you_mean
from dataset_diffusion.reading import LayerChoice, Reading

FLOW_TIMESTEPS = (101, 201, 301)
"""Noise levels at which transformers look at given images: low ones, at which they say best what is where."""


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

    @property
    def num_calls(self) -> int:
        """Calls of the network for the text prompt while an image is drawn. PNDM takes its second step twice."""
        return self.steps + (self.scheduler in ("pndm", "PNDMScheduler"))


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
        holds: the row of ``MODELS`` whose weights a folder or repository was found to hold; None for the rows.
        tflop: 10^12 operations of one pass over one image of the model's own size, by torch's FLOP counter
            (`benchmarks/training_cost.py`); None where they were not counted.
        adapters: LoRA weights that are added to its own.
        decoder: in the place of its own autoencoder.
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
    holds: str | None = None
    tflop: float | None = None
    adapters: tuple[Adapter, ...] = ()
    decoder: TinyDecoder | None = None

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
        check_kind(asked, (str, type(None)), "reading", fix="its name or file")
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
            expected = f"{', '.join(READINGS)}, or a file"
            raise ConfigError("no such reading", got=name, expected=expected, fix=did_you_mean(name, READINGS))
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


def model_fingerprint(spec: ModelSpec) -> str | None:
    """What tells a model from another: a hash of a folder's files, the commit of a hub id; and of what is added to it.

    Hidden files are left out: downloads keep times in them. So are formats of weights that are never read.
    """
    folder = Path(spec.path)
    added = [one.fingerprint for one in (*spec.adapters, spec.decoder) if one is not None]
    if added:
        return "+".join([str(model_fingerprint(replace(spec, adapters=(), decoder=None))), *added])
    if not folder.is_dir():
        return spec.revision
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.suffix in {".json", ".safetensors", ".txt"}):
        name = file.relative_to(folder)
        if not any(part.startswith(".") for part in name.parts):
            with file.open("rb") as opened:
                digest.update(f"{name}:".encode() + hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]
