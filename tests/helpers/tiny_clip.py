"""A CLIP of the real architecture with hardly any channels and random weights."""

from pathlib import Path

import torch
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPTokenizer,
    CLIPVisionConfig,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def save_tiny_clip(folder: Path, *, seed: int = 3) -> None:
    """Save a model that reads captions letter by letter and images of 16 pixels."""
    tokens = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=[])
    tokenizer.model_max_length = 20
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"vocab_size": len(tokens), "bos_token_id": start, "eos_token_id": end, "pad_token_id": end}
    text = CLIPTextConfig(**shape, **ids, max_position_embeddings=20)
    vision = CLIPVisionConfig(**shape, image_size=16, patch_size=8)
    torch.manual_seed(seed)
    model = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=8))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=1.0)  # wide, so that another image or caption gets another score
    model.save_pretrained(folder)
    sizes = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}}
    CLIPProcessor(CLIPImageProcessor(**sizes), tokenizer).save_pretrained(folder)
