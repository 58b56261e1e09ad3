"""How well an image fits its caption, as CLIP sees it (https://arxiv.org/abs/2103.00020)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from transformers import CLIPConfig, CLIPModel, CLIPProcessor, PreTrainedConfig
from transformers.utils import logging

from dataset_diffusion.dataset.schema import Image
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.errors import ModelError, first_line
from dataset_diffusion.machine.devices import inference_dtype, resolve_device
from dataset_diffusion.machine.hub import NO_CODE, SAFE, load_pretrained
from dataset_diffusion.prompts.captions import remove_class_prompt

_BATCH_SIZE = 16


@dataclass(frozen=True, eq=False)
class ImageTextScorer:
    """A CLIP model and the processor of its inputs."""

    processor: Any
    model: Any

    @torch.inference_mode()
    def score(self, images: Sequence[Image], captions: Sequence[str]) -> Float32[np.ndarray, " images"]:
        """The cosine similarity of the embeddings of each image, of any size, and its caption, in [-1, 1].

        Captions longer than the model reads (77 tokens) are cut.
        """
        inputs = self.processor(
            images=list(images), text=list(captions), return_tensors="pt", padding=True, truncation=True
        ).to(self.model.device, self.model.dtype)
        found = self.model(**inputs)
        similarity = torch.cosine_similarity(found.image_embeds.float(), found.text_embeds.float())
        scores: Float32[np.ndarray, " images"] = similarity.cpu().numpy()
        return scores


def score_dataset(store: DatasetStore, scorer: ImageTextScorer) -> Iterator[float]:
    """The `score` of each image of a dataset and its caption, without the class words appended to it, in order."""
    shards = range(store.manifest.num_shards)
    rows = chain.from_iterable(
        store.read_shard(shard, ("index", "image", "prompt", "class_prompt")) for shard in shards
    )
    while batch := list(islice(rows, _BATCH_SIZE)):
        images = [store.decode_image(row["index"], row["image"]["bytes"]) for row in batch]
        captions = [remove_class_prompt(row["prompt"], row["class_prompt"]) for row in batch]
        yield from scorer.score(images, captions).tolist()


def load_image_text(name_or_path: str, device: str | None = None) -> ImageTextScorer:
    """Load a CLIP model from a hub id, or from a local folder that ``save_pretrained`` wrote.

    Raises:
        ModelError: no such folder or hub repository, or not a CLIP model.
    """
    where = resolve_device(device)
    logging.disable_progress_bar()
    processor, model = load_pretrained(
        name_or_path,
        lambda: _read(name_or_path, inference_dtype(where)),
        explain=lambda error: _not_clip(name_or_path, first_line(error)),
        missing="cannot get the image-text model",
        expected="a local folder, or a CLIP model of a hub that can be reached",
        folder="clip",
        then="then pass --image-text clip",
    )
    return ImageTextScorer(processor, model.to(where).eval())


def _read(name_or_path: str, dtype: torch.dtype) -> tuple[Any, Any]:
    # Asked first: CLIPModel takes the folder of any other model and fills in random weights.
    config, _ = PreTrainedConfig.get_config_dict(name_or_path)
    if config.get("model_type") != CLIPConfig.model_type:
        raise _not_clip(name_or_path, f"a model of type {config.get('model_type')}")
    processor = CLIPProcessor.from_pretrained(name_or_path, **NO_CODE)
    return processor, CLIPModel.from_pretrained(name_or_path, dtype=dtype, **SAFE)


def _not_clip(name_or_path: str, found: str) -> ModelError:
    return ModelError(
        "not a CLIP model",
        got=f"{name_or_path}: {found}",
        expected="a model that compares images and texts, with its processor, such as openai/clip-vit-base-patch32",
    )
