"""A BLIP captioner of the real architecture with hardly any channels and random weights."""

from pathlib import Path

import torch
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    BlipTextConfig,
    BlipVisionConfig,
)

WORDS = ["a", "an", "cat", "dog", "bus", "on", "in", "the", "snow", "road", "and", "two", "red", "with", "photo", "of"]
SIZE = 32


def save_tiny_captioner(folder: Path, *, seed: int = 2) -> None:
    """Save a captioner that says random words of a short vocabulary."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *WORDS]
    tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(vocabulary)}, bos_token="[DEC]")
    text = BlipTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        encoder_hidden_size=16,
        intermediate_size=16,
        projection_dim=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        bos_token_id=5,
        eos_token_id=3,
        sep_token_id=3,
        pad_token_id=0,
    )
    vision = BlipVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=SIZE, patch_size=8
    )
    torch.manual_seed(seed)
    # Wide weights, so that another photo gets another caption.
    config = BlipConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16)
    model = BlipForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=1.0)
    model.save_pretrained(folder)
    processor = BlipProcessor(BlipImageProcessor(size={"height": SIZE, "width": SIZE}), tokenizer)
    processor.save_pretrained(folder)
