"""Mask2Former (Cheng et al. 2022) with a ResNet, by transformers: queries that each predict a class and a mask."""

from __future__ import annotations

import logging
from typing import Any, cast

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch.nn.functional import interpolate
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, ResNetBackbone, ResNetConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerLoss,
    dice_loss,
    sample_point,
    sigmoid_cross_entropy_loss,
)

from dataset_diffusion.machine.hub import SAFE
from dataset_diffusion.prompts.class_sets import ClassSet

STAGES = ["stage1", "stage2", "stage3", "stage4"]
# It warns that a ResNet "may not be compatible", the paper's own backbone.
logging.getLogger("transformers.models.mask2former.configuration_mask2former").setLevel(logging.ERROR)

SURELY_NOT = -30.0
"""A mask logit with no loss where the mask is not, in either of the two losses."""


SIZES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "resnet50": ("microsoft/resnet-50", {}, {}),
    # For images of 128 pixels on a CPU.
    "small": (
        "microsoft/resnet-18",
        {"layer_type": "basic", "depths": (2, 2, 2, 2), "hidden_sizes": (64, 128, 256, 512)},
        {
            "feature_size": 64,
            "mask_feature_size": 64,
            "hidden_dim": 64,
            "num_attention_heads": 4,
            "encoder_layers": 2,
            "encoder_feedforward_dim": 128,
            "decoder_layers": 4,
            "dim_feedforward": 256,
            "num_queries": 25,
            "train_num_points": 2048,
        },
    ),
}
"""A ResNet's ImageNet weights on the hub, its settings and the rest's; the library's defaults are the paper's."""


class Mask2Former(nn.Module):
    """Class logits of every pixel from the queries' classes and masks; the background is a class like the others."""

    any_size = False
    """The library keeps the places of pixels of the size that it saw first."""

    def __init__(self, num_classes: int, size: str, pretrained: bool) -> None:
        super().__init__()
        weights, backbone, changes = SIZES[size]
        config = Mask2FormerConfig(
            backbone_config=ResNetConfig(out_features=STAGES, **backbone), num_labels=num_classes, **changes
        )
        self.model = Mask2FormerForUniversalSegmentation(config)
        self.model.criterion = LabelledPixelsLoss(config, self.model.weight_dict)
        if pretrained:
            pixel_level = self.model.model.pixel_level_module
            pixel_level.encoder = ResNetBackbone.from_pretrained(weights, out_features=STAGES, **SAFE)

    @property
    def encoder(self) -> nn.Module:
        """The part that ImageNet weights are for."""
        return cast(nn.Module, self.model.model.pixel_level_module.encoder)

    def forward(self, images: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch classes h w"]:
        """Logarithms of the classes' scores: the sum over the queries of class probability times mask."""
        outputs = self.model(images)
        classes = outputs.class_queries_logits.float().softmax(dim=-1)[..., :-1]
        masks = outputs.masks_queries_logits.float().sigmoid()
        scores = torch.einsum("bqc,bqhw->bchw", classes, masks)
        return interpolate(scores, images.shape[-2:], mode="bilinear").clamp(min=1e-6).log()

    def loss(self, images: Float[Tensor, "batch 3 h w"], labels: Integer[Tensor, "batch h w"]) -> Float[Tensor, ""]:
        """The paper's loss (classification, masks and their overlap, after every decoder layer) of normalised images.

        Pixels of the label 255 belong to no mask and have no loss; it is 0 where no pixel of the batch is labelled.
        """
        present = [label.unique() for label in labels]
        classes = [ids[ids != ClassSet.ignore_index].long() for ids in present]
        masks = [(label == ids[:, None, None]).float() for label, ids in zip(labels, classes, strict=True)]
        outputs = self.model(images, output_auxiliary_logits=True)
        labelled = [number for number, ids in enumerate(classes) if len(ids)]
        if not labelled:
            return cast(Tensor, 0 * (outputs.masks_queries_logits.sum() + outputs.class_queries_logits.sum()).float())
        final, *others = [
            {name: layer[name][labelled].float() for name in ("masks_queries_logits", "class_queries_logits")}
            for layer in (outputs, *outputs.auxiliary_logits)
        ]
        losses = self.model.get_loss_dict(
            **final,
            mask_labels=[masks[number] for number in labelled],
            class_labels=[classes[number] for number in labelled],
            auxiliary_predictions=others,
        )
        return cast(Tensor, self.model.get_loss(losses).squeeze())


class LabelledPixelsLoss(Mask2FormerLoss):  # type: ignore[misc]
    """The library's loss, except that points which belong to no mask of their image have none.

    The masks of an image are all its labelled pixels, background included, so the rest is what is to be ignored.
    """

    def loss_masks(
        self, masks_queries_logits: Tensor, mask_labels: list[Tensor], indices: Any, num_masks: Any
    ) -> dict[str, Tensor]:
        """Both mask losses of the queries that the matching chose; the same arguments and results as in the library."""
        predicted = masks_queries_logits[self._get_predictions_permutation_indices(indices)][:, None]
        chosen = [target for _, target in indices]
        masks = torch.cat([masks[which] for masks, which in zip(mask_labels, chosen, strict=True)])[:, None]
        unlabelled = torch.cat(
            [(1 - masks.amax(0)).expand(len(which), -1, -1) for masks, which in zip(mask_labels, chosen, strict=True)]
        )[:, None]
        with torch.no_grad():
            points = self.sample_points_using_uncertainty(
                predicted,
                self.calculate_uncertainty,
                self.num_points,
                self.oversample_ratio,
                self.importance_sample_ratio,
            )
            ignored = sample_point(unlabelled, points, align_corners=False).squeeze(1) > 0.5
            truth = sample_point(masks, points, align_corners=False).squeeze(1).masked_fill(ignored, 0.0)
        logits = sample_point(predicted, points, align_corners=False).squeeze(1).masked_fill(ignored, SURELY_NOT)
        return {
            "loss_mask": sigmoid_cross_entropy_loss(logits, truth, num_masks),
            "loss_dice": dice_loss(logits, truth, num_masks),
        }
