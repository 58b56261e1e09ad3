"""Segment-anything models of a few thousand random weights, in folders as the hub gives them."""

from pathlib import Path

import torch
from transformers import (
    Sam2Config,
    Sam2ImageProcessor,
    Sam2Model,
    Sam3ImageProcessor,
    Sam3TrackerConfig,
    Sam3TrackerModel,
)

SIDE, WIDTH = 128, 16
"""Pixels a side that the image is resized to, and channels."""

PROMPTS = {"hidden_size": WIDTH, "image_size": SIDE}
DECODER = {"hidden_size": WIDTH, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}


def write_sam(kind: str, folder: Path) -> Path:
    """A folder with weights and image processor of ``sam2`` or ``sam3``."""
    torch.manual_seed(0)
    model, processor = _SAMS[kind]()
    decoder = model.mask_decoder
    with torch.no_grad():  # so that it trusts its masks, as a trained one does
        decoder.iou_prediction_head.proj_out.bias.fill_(5)
        for head in decoder.output_hypernetworks_mlps:
            head.proj_out.weight.mul_(1e9)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _sam2() -> tuple[Sam2Model, Sam2ImageProcessor]:
    hiera = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "image_size": [SIDE, SIDE],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 24, 32],
        "num_attention_heads_per_stage": [1, 1, 1, 1],
        "window_size_per_stage": [8, 4, 4, 4],
        "global_attention_blocks": [3],
    }
    vision = {
        "backbone_config": hiera,
        "backbone_channel_list": [32, 24, 16, 8],
        "backbone_feature_sizes": [[SIDE // stride] * 2 for stride in (4, 8, 16)],
        "fpn_hidden_size": WIDTH,
    }
    config = Sam2Config(
        vision_config=vision, prompt_encoder_config=PROMPTS | {"patch_size": 16}, mask_decoder_config=DECODER
    )
    return Sam2Model(config).eval(), Sam2ImageProcessor(
        size={"height": SIDE, "width": SIDE}, mask_size={"height": SIDE // 4, "width": SIDE // 4}
    )


def _sam3() -> tuple[Sam3TrackerModel, Sam3ImageProcessor]:
    vit = {
        "model_type": "sam3_vit_model",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "pretrain_image_size": SIDE,
        "patch_size": 16,
        "window_size": 4,
        "global_attn_indexes": [1],
    }
    vision = {
        "model_type": "sam3_vision_model",
        "backbone_config": vit,
        "fpn_hidden_size": WIDTH,
        "backbone_feature_sizes": [[SIDE // stride] * 2 for stride in (4, 8, 16)],
    }
    config = Sam3TrackerConfig(
        vision_config=vision, prompt_encoder_config=PROMPTS | {"patch_size": 16}, mask_decoder_config=DECODER
    )
    return Sam3TrackerModel(config).eval(), Sam3ImageProcessor(
        size={"height": SIDE, "width": SIDE}, mask_size={"height": SIDE // 4, "width": SIDE // 4}
    )


_SAMS = {"sam2": _sam2, "sam3": _sam3}
