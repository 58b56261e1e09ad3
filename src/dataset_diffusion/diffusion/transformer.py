"""Diffusion models with a transformer, of any family of the table."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from dataset_diffusion.config import CaptureSettings
from dataset_diffusion.diffusion.arguments import check_looked_at
from dataset_diffusion.diffusion.capture import AttentionLayers, AttentionReader
from dataset_diffusion.diffusion.families.base import Call
from dataset_diffusion.diffusion.families.table import family_of
from dataset_diffusion.diffusion.model import DiffusionModel
from dataset_diffusion.diffusion.specs import GenerationPlan, ModelSpec
from dataset_diffusion.diffusion.tapped import TappedCapture, bind
from dataset_diffusion.errors import ModelError
from dataset_diffusion.reading import LayerChoice, Reading
from dataset_diffusion.records import AttentionMaps, Generation, LayerMaps, Prompt
from dataset_diffusion.seeding import sample_generator


class TransformerModel(DiffusionModel):
    """A diffusion model whose pipeline has a transformer."""

    def __init__(self, spec: ModelSpec, pipeline: Any) -> None:
        super().__init__(spec, pipeline)
        self.family = family_of(pipeline)

    @classmethod
    def takes(cls, pipeline: Any) -> bool:
        """As the base class says: whether its family is known, its name will tell."""
        return not hasattr(pipeline, "unet")

    @property
    def tokenizer(self) -> Any:
        """As the base class says."""
        return self.family.tokenizer

    @property
    def class_limit(self) -> int:
        """As the base class says."""
        bare = len(self.tokenizer("").input_ids)
        return min(stream.limit - len(stream) + bare for stream in self.family.streams(""))

    @property
    def size_multiple(self) -> int:
        """As the base class says."""
        return self.family.pixels_per_cell

    def cross_attention_heads(self) -> dict[str, int]:
        """As the base class says."""
        network = self.family.network
        return {
            name: self.family.heads(network.get_submodule(attention))
            for name, attention in self.family.layers().items()
        }

    def generate_checked(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], plan: GenerationPlan
    ) -> list[Generation]:
        """As the base class says."""
        if not self.family.is_drawn_alone or len(prompts) == 1:
            return super().generate_checked(prompts, seeds, plan)
        alone = super().generate_checked
        return [alone([prompt], [seed], plan)[0] for prompt, seed in zip(prompts, seeds, strict=True)]

    def attend(
        self,
        images: Sequence[UInt8[np.ndarray, "h w 3"]],
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
        capture: CaptureSettings | Reading | None = None,
        *,
        timesteps: Sequence[int] | None = None,
    ) -> list[AttentionMaps]:
        """As the base class says."""
        alone = super().attend
        if not self.family.is_drawn_alone:
            return alone(images, prompts, seeds, capture, timesteps=timesteps)
        check_looked_at(images, prompts, seeds)
        each = zip(images, prompts, seeds, strict=True)
        return [alone([i], [p], [seed], capture, timesteps=timesteps)[0] for i, p, seed in each]

    def attend_layers(
        self,
        images: Sequence[UInt8[np.ndarray, "h w 3"]],
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
        reading: Reading,
    ) -> list[LayerMaps]:
        """As the base class says."""
        alone = super().attend_layers
        if not self.family.is_drawn_alone:
            return alone(images, prompts, seeds, reading)
        return [alone([i], [p], [seed], reading)[0] for i, p, seed in zip(images, prompts, seeds, strict=True)]

    def _encode_images(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c latent_h latent_w"]:
        return self.family.encode_images(pixels)

    def _noisy(self, latents: Tensor, noise: Tensor, timestep: int) -> Tensor:
        return self.family.noisy(latents, noise, timestep).to(self.family.network.dtype)

    def _network_call(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], size: tuple[int, int]
    ) -> Callable[[Tensor, int], object]:
        recorded = self._recorded_call(prompts, seeds, size)
        return lambda noisy, timestep: self.family.network(**self.family.replay(recorded, noisy, timestep))

    def _recorded_call(self, prompts: Sequence[Prompt], seeds: Sequence[int], size: tuple[int, int]) -> Call:
        """The arguments with which the pipeline first calls the network, which is not run."""

        def stop(network: Any, args: Any, kwargs: Call) -> None:
            raise _CallRecordedError(bind(network, args, kwargs))

        scale = self.spec.guidance_scale if self.family.takes_scale else 1.0
        handle = self.family.network.register_forward_pre_hook(stop, with_kwargs=True)
        try:
            self.pipeline(
                prompt=[prompt.text for prompt in prompts],
                num_inference_steps=self.family.fewest_steps,
                generator=[sample_generator(seed) for seed in seeds],
                height=size[0],
                width=size[1],
                output_type="latent",
                **self._options(scale, [], self.family.fewest_steps),
            )
        except _CallRecordedError as recorded:
            return recorded.call
        finally:
            handle.remove()
        raise ModelError("the pipeline does not call its network", got=type(self.pipeline).__name__)

    def _reader(
        self,
        prompts: Sequence[Prompt],
        reading: Reading,
        guided: bool,
        size: tuple[int, int],
        calls: Container[int] | None = None,
    ) -> AttentionReader:
        found = [self.family.positions(prompt, reading.prompt) for prompt in prompts]
        texts = None
        if reading.prompt == "class":
            texts = self.family.encode([prompt.class_prompt for prompt in prompts])
        grid = self._grid(size)
        names, (own, pool) = self._cross_layers(reading), self._self_layers(reading)
        return TappedCapture(
            self.family,
            texts,
            cross_attention=AttentionLayers(names, grid)
            if isinstance(reading.cross_attention, LayerChoice)
            else dict.fromkeys(names, grid),
            self_attention=AttentionLayers(own, (-(-grid[0] // pool), -(-grid[1] // pool))),
            grid=grid,
            pool=pool,
            token_positions=[positions for positions, _ in found],
            start=[start for _, start in found],
            guided=guided,
            calls=calls,
        )

    def _check_layers(self, reading: Reading) -> None:
        self._cross_layers(reading)
        self._self_layers(reading)

    def _cross_layers(self, reading: Reading) -> tuple[str, ...]:
        choice = reading.cross_attention
        if not isinstance(choice, LayerChoice):
            self._check_heads(choice)
            return choice.layers
        if choice.resolution != self._native_side:
            raise _no_resolution(choice.resolution, f"{self._native_side}, the model's only one")
        return self._chosen(choice)

    def _self_layers(self, reading: Reading) -> tuple[tuple[str, ...], int]:
        """Their names, and how many cells a side are pooled."""
        side, choice = self._native_side, reading.self_attention
        if choice.resolution > side or side % choice.resolution:
            raise _no_resolution(choice.resolution, f"{side}, or what divides it")
        return self._chosen(choice), side // choice.resolution

    def _chosen(self, choice: LayerChoice) -> tuple[str, ...]:
        layers = tuple(self.family.layers())
        named = tuple(name for name in layers if any(_is_in(name, prefix) for prefix in choice.prefixes))
        if not named:
            raise ModelError(
                "the model has no attention layer of that name",
                got=", ".join(choice.prefixes),
                expected=f"one of {', '.join(layers)}",
            )
        return named

    @property
    def _native_side(self) -> int:
        return min(self._grid((self.spec.height, self.spec.width)))

    def _grid(self, size: tuple[int, int]) -> tuple[int, int]:
        cell = self.family.pixels_per_cell
        return size[0] // cell, size[1] // cell

    def _token_positions(self, prompts: Sequence[Prompt], of: str) -> list[list[list[int]]]:
        return [self.family.positions(prompt, of)[0] for prompt in prompts]

    def _check_texts(self, prompts: Sequence[Prompt]) -> None:
        for prompt in prompts:
            self.family.check_text(prompt)

    def _is_guided(self, scale: float) -> bool:
        return self.family.is_guided(scale)

    def _num_calls(self, steps: int) -> int:
        order = int(getattr(self.pipeline.scheduler, "order", 1))
        return steps * order - order + 1  # the last step of a scheduler of second order is of first order

    def _options(self, scale: float, negative_prompts: list[str], steps: int) -> dict[str, Any]:
        return self.family.options(scale, negative_prompts, steps)


class _CallRecordedError(Exception):
    """Not an error: ends a pipeline at its first call of the network."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.call = call


def _is_in(layer: str, prefix: str) -> bool:
    return prefix in ("", layer) or layer.startswith(f"{prefix.rstrip('.')}.")


def _no_resolution(got: int, expected: str) -> ModelError:
    return ModelError("the model has no attention of that resolution", got=got, expected=expected)
