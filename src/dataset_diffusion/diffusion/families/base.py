"""What a family of diffusion transformers says about itself: see CONTRIBUTING, "Add a family"."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from diffusers import DDIMScheduler
from jaxtyping import Bool, Float
from torch import Tensor

from dataset_diffusion.diffusion.tap import Places
from dataset_diffusion.errors import PromptError
from dataset_diffusion.prompts.tokens import token_indices
from dataset_diffusion.records import Prompt

Call = dict[str, Any]
"""Arguments of a module by name."""

CLASS_TOKENS = 77
"""The class prompt's length where a text encoder's states depend on it (T5 without a mask)."""


_CONTENT = "\ufffc"


@dataclass(frozen=True)
class Texts:
    """What the text encoders say of texts: states, and which are of tokens that may be seen (None: all)."""

    states: Float[Tensor, "b tokens width"]
    mask: Bool[Tensor, "b tokens"] | None = None


@dataclass(frozen=True)
class TextStream:
    """How one of the tokenizers sees a text.

    Attributes:
        tokenizer: a fast one.
        text: as it is tokenized.
        limit: its tokens, special ones and template counted.
        shift: added to a token's place there for its place among the network's text tokens.
        before, after: the template's words around the text.
    """

    tokenizer: Any
    text: str
    limit: int
    shift: int = 0
    before: str = ""
    after: str = ""

    @property
    def templated(self) -> str:
        """The text in its template."""
        return f"{self.before}{self.text}{self.after}"

    def __len__(self) -> int:
        return len(self.tokenizer(self.templated, truncation=False, verbose=False).input_ids)


class Family:
    """A family of diffusion transformers, and one pipeline of it.

    Attributes:
        attention: the lists of blocks, in the order in which they run, and where a block has its attention to text.
        self_attention: the layer of a block for attention among the image's tokens; empty where one layer does both.
        linear: whether that one is linear (`softmax.self_attention`).
        image_first: whether the image's tokens stand before the text's.
        guidance: which half of a guided batch is the text prompt's; or that calls alternate, the text prompt's first.
        latents, clock: names of the network's arguments for what is denoised and for the noise level.
        fewest_steps: that the pipeline can be called with.
        is_drawn_alone: whether what the network is given of a text depends on the others of a batch.
    """

    attention: ClassVar[tuple[tuple[str, str], ...]] = (("transformer_blocks", "attn"),)
    self_attention: ClassVar[str] = ""
    linear: ClassVar[bool] = False
    image_first: ClassVar[bool] = False
    guidance: ClassVar[Literal["last half", "first half", "own call"]] = "last half"
    latents: ClassVar[str] = "hidden_states"
    clock: ClassVar[str] = "timestep"
    fewest_steps: ClassVar[int] = 1
    is_drawn_alone: ClassVar[bool] = False

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline

    @property
    def network(self) -> Any:
        """What denoises."""
        return self.pipeline.transformer

    @property
    def text_limit(self) -> int:
        """Tokens that a text prompt may have."""
        return 512

    @property
    def is_joint(self) -> bool:
        """Whether image and text share an attention layer; else the image attends to the text alone."""
        return not self.self_attention

    @property
    def tokenizer(self) -> Any:
        """The tokenizer by which class prompts are read."""
        return self.pipeline.tokenizer

    @property
    def pixels_per_cell(self) -> int:
        """Pixels a side of one image token."""
        return int(self.pipeline.vae_scale_factor * self.network.config.patch_size)

    def layers(self) -> dict[str, str]:
        """Blocks by name, in the order in which they run, and the name of their attention."""
        return {
            f"{blocks}.{number}": f"{blocks}.{number}.{attention}"
            for blocks, attention in self.attention
            for number in range(len(self.network.get_submodule(blocks)))
        }

    def heads(self, attention: Any) -> int:
        """How many heads an attention layer has."""
        return int(attention.heads)

    # Guidance

    @property
    def takes_scale(self) -> bool:
        """Whether the network was distilled for guidance: the scale is an input of it, and nothing is drawn twice."""
        return bool(self.network.config.get("guidance_embeds"))

    def is_guided(self, scale: float) -> bool:
        """Whether the network draws the negative prompt too."""
        return scale > 1 and not self.takes_scale

    def options(self, scale: float, negative_prompts: list[str], steps: int) -> dict[str, Any]:
        """What the pipeline is told of guidance, and whatever else makes it draw at just the size that it is given."""
        negative = {"negative_prompt": negative_prompts} if self.is_guided(scale) else {}
        return {"guidance_scale": scale, **negative}

    # Text

    def encode(self, texts: list[str], length: int = CLASS_TOKENS) -> Texts:
        """What the network is given of texts, at most ``length`` tokens of them where their number is not their own."""
        raise NotImplementedError

    def streams(self, text: str, length: int = CLASS_TOKENS) -> Iterator[TextStream]:
        """How the tokenizers see a text that `encode` encodes."""
        yield TextStream(self.tokenizer, text, length)

    def drawn_streams(self, text: str) -> Iterator[TextStream]:
        """How they see the text prompt while the pipeline draws."""
        return self.streams(text, self.text_limit)

    def positions(self, prompt: Prompt, of: str) -> tuple[list[list[int]], int]:
        """Where each class's tokens are among the text tokens, and where one that is no word (the start token).

        Args:
            prompt: what is drawn.
            of: the ``class`` prompt, or the class words at the end of the ``text``.

        Raises:
            PromptError: a class word without a token, or a text that is too long.
        """
        text = prompt.class_prompt if of == "class" else prompt.text
        streams = list(self.streams(text) if of == "class" else self.drawn_streams(text))
        read = [stream for stream in streams if len(stream) <= stream.limit] or streams
        found: list[list[int]] = [[] for _ in prompt.class_words]
        for stream in read:
            end = len(stream.before) + len(stream.text)
            within = (end - len(prompt.class_prompt), end)
            words = list(prompt.class_words)
            for places, tokens in zip(
                found,
                token_indices(stream.tokenizer, stream.templated, words, within=within, limit=stream.limit),
                strict=True,
            ):
                places += [token + stream.shift for token in tokens]
        return found, _no_word(read[0])

    def check_text(self, prompt: Prompt) -> None:
        """Raise a PromptError where the text prompt's end, which has the class words, would be cut off."""
        streams = list(self.drawn_streams(prompt.text))
        if all(len(stream) > stream.limit for stream in streams):
            longest = max(streams, key=lambda stream: stream.limit)
            raise PromptError(
                "the text prompt is longer than the tokenizer's limit",
                got=f"{len(longest)} tokens in prompt {prompt.index}, {prompt.text!r}",
                expected=f"at most {longest.limit}, special tokens counted",
                fix="shorten its caption",
            )

    # The class prompt beside the image

    def class_tokens(self, call: Call, texts: Texts) -> tuple[Float[Tensor, "b tokens width"], Any]:
        """The class prompt as the first block has its text, and whatever `class_call` needs to say where it stands.

        Args:
            call: of the network.
            texts: from `encode`.
        """
        return self.network.context_embedder(texts.states), None

    def class_mask(self, texts: Texts) -> Bool[Tensor, "b tokens"] | None:
        """Which of `class_tokens` may be seen."""
        return texts.mask

    def class_call(self, call: Call, tokens: Float[Tensor, "b tokens width"], extra: Any) -> Call:
        """A block's arguments with the class prompt as its text and a single token of the image, or none.

        Args:
            call: the block's arguments for the image, of the conditional half.
            tokens: the class prompt.
            extra: from `class_tokens`.
        """
        return call | {"hidden_states": call["hidden_states"][:, :1], "encoder_hidden_states": tokens}

    def text_of(self, output: Any) -> Float[Tensor, "b tokens width"]:
        """The text in a block's output."""
        text: Tensor = output[0] if isinstance(output, tuple) else output
        return text

    def image_places(self, call: Call, cells: int, total: int) -> tuple[Places, Places]:
        """Where the image's cells are in the sequence of a block; and all that is not text.

        Args:
            call: of the network.
            cells: tokens of the image.
            total: tokens of the sequence.
        """
        here = slice(0, cells) if self.image_first else slice(total - cells, total)
        return here, here

    def text_start(self, cells: int) -> int:
        """Where the text begins in the sequence of a block."""
        return cells if self.image_first else 0

    # Given images

    def encode_images(self, pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c latent_h latent_w"]:
        """Latents of images in [-1, 1], as the pipeline denoises them."""
        autoencoder = self.pipeline.vae
        encoded = autoencoder.encode(pixels)  # a tiny autoencoder has no distribution
        latents: Tensor = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
        shift = float(autoencoder.config.get("shift_factor") or 0.0)
        scaled: Tensor = (latents - shift) * float(autoencoder.config.scaling_factor)
        return scaled

    def noisy(self, latents: Tensor, noise: Tensor, timestep: int) -> Tensor:
        """Latents at a noise level, in training timesteps."""
        config = self.pipeline.scheduler.config
        if self.is_flow:
            level = timestep / int(config.num_train_timesteps)
            return (1 - level) * latents + level * noise
        return diffused(config, latents, noise, timestep)

    @property
    def is_flow(self) -> bool:
        """Whether the latents go straight to the noise (flow matching) instead of by a diffusion's schedule."""
        scheduler = self.pipeline.scheduler
        return "FlowMatch" in type(scheduler).__name__ or "flow" in scheduler.config.get("prediction_type", "")

    def time(self, timestep: int) -> float:
        """A noise level as the network is told it."""
        return float(timestep)

    def pack(self, latents: Tensor) -> Any:
        """Latents as the network is given them."""
        return latents

    def replay(self, call: Call, latents: Tensor, timestep: int) -> Call:
        """The arguments of another call of the network, with other latents at another noise level."""
        clock = torch.full_like(call[self.clock], self.time(timestep))
        return call | {self.latents: self.pack(latents), self.clock: clock}


def diffused(scheduler_config: Any, latents: Tensor, noise: Tensor, timestep: int) -> Tensor:
    """Latents at a noise level of a diffusion's schedule, in training timesteps."""
    steps = torch.full((len(latents),), timestep, device=latents.device)
    found: Tensor = DDIMScheduler.from_config(scheduler_config).add_noise(latents, noise, steps)
    return found


def in_template(tokenizer: Any, **options: Any) -> tuple[str, str]:
    """What a chat template puts before and after a text."""
    message = [{"role": "user", "content": _CONTENT}]
    templated = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True, **options)
    before, _, after = templated.partition(_CONTENT)
    return before, after


def _no_word(stream: TextStream) -> int:
    """The first token that the network sees and that is not of the text."""
    begin, end = len(stream.before), len(stream.before) + len(stream.text)
    offsets = stream.tokenizer(stream.templated, return_offsets_mapping=True, verbose=False).offset_mapping
    outside = (place for place, (a, b) in enumerate(offsets) if a == b or b <= begin or a >= end)
    return next((place + stream.shift for place in outside if place + stream.shift >= 0), 0)
