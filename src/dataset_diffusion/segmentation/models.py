"""The segmenters by name, behind one calling convention: RGB in [0, 1] in, logits at the size of the input out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import segmentation_models_pytorch as smp
import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.models import ResNet50_Weights, ResNet101_Weights, WeightsEnum
from torchvision.models.segmentation import deeplabv3_resnet50, deeplabv3_resnet101
from torchvision.transforms.v2.functional import normalize

from dataset_diffusion.errors import ModelError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
AUXILIARY_WEIGHT = 0.4
"""Weight of the auxiliary head's loss beside the main one's (PSPNet, section 4)."""


class Segmenter(nn.Module):
    """A network wrapped at the edge, so that everything after it sees one calling convention.

    Attributes:
        name: its row in ``SEGMENTERS``.
        num_classes: channels of the logits, background (channel 0) included.
    """

    def __init__(self, network: nn.Module, name: str, num_classes: int) -> None:
        super().__init__()
        # Convolutions run faster with the channels last, on the CPU and on GPUs alike.
        self.network = network.to(memory_format=torch.channels_last)
        self.name = name
        self.num_classes = num_classes

    def forward(self, images: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch classes h w"]:
        """Logits of every class.

        Args:
            images: RGB in [0, 1]; ImageNet normalisation is applied here.

        Returns:
            Logits, background first, at the size of the images whatever it is.
        """
        return self._heads(images)["out"]

    def loss(
        self, images: Float[Tensor, "batch 3 h w"], labels: Integer[Tensor, "batch h w"], ignore_index: int
    ) -> Float[Tensor, ""]:
        """Mean cross-entropy over the labelled pixels, plus 0.4 times that of the auxiliary head where there is one.

        Args:
            images: RGB in [0, 1].
            labels: class ids, 0 background, ``ignore_index`` where the label says nothing.
            ignore_index: the id that has no loss.

        Returns:
            A scalar; 0 where no pixel of the batch is labelled.
        """
        heads = self._heads(images)
        loss = _cross_entropy(heads["out"], labels, ignore_index)
        if "aux" in heads:
            loss = loss + AUXILIARY_WEIGHT * _cross_entropy(heads["aux"], labels, ignore_index)
        return loss

    def _heads(self, images: Float[Tensor, "batch 3 h w"]) -> dict[str, Tensor]:
        normalized = normalize(images, mean=IMAGENET_MEAN, std=IMAGENET_STD)
        outputs = self.network(normalized.contiguous(memory_format=torch.channels_last))
        return {"out": outputs} if isinstance(outputs, Tensor) else outputs


def build_segmenter(name: str, num_classes: int, pretrained: bool = False) -> Segmenter:
    """Build an untrained segmenter.

    Args:
        name: a row of ``SEGMENTERS``.
        num_classes: channels of the logits: K classes plus the background, which is class 0.
        pretrained: start the encoder from ImageNet weights, fetched on first use; otherwise from random ones.

    Raises:
        ModelError: no such segmenter, or the pretrained weights cannot be had.
    """
    if name not in SEGMENTERS:
        raise ModelError("no such segmenter", got=repr(name), expected=f"one of {', '.join(SEGMENTERS)}")
    try:
        network = SEGMENTERS[name](num_classes, pretrained)
    # torchvision raises RuntimeError for a download that was cut short; everything else is some OSError.
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise ModelError(
            f"cannot get the ImageNet weights of {name}",
            got=f"{type(error).__name__}: {str(error).strip().splitlines()[0]}",
            fix="connect to the internet once, or train with --no-pretrained",
        ) from error
    return Segmenter(network, name, num_classes)


def _unet(num_classes: int, pretrained: bool, *, encoder: str, decoder_channels: tuple[int, ...]) -> nn.Module:
    network: nn.Module = smp.Unet(
        encoder,
        encoder_weights="imagenet" if pretrained else None,
        decoder_channels=decoder_channels,
        classes=num_classes,
    )
    return network


def _deeplabv3(
    num_classes: int, pretrained: bool, *, build: Callable[..., nn.Module], weights: WeightsEnum
) -> nn.Module:
    return build(
        num_classes=num_classes,
        weights=None,
        weights_backbone=weights if pretrained else None,
        aux_loss=True,
        progress=False,
    )


def _cross_entropy(logits: Tensor, labels: Tensor, ignore_index: int) -> Tensor:
    # reduction="mean" is 0 / 0 for a batch without a labelled pixel: one such batch would undo the whole training.
    total = cross_entropy(logits.float(), labels.long(), ignore_index=ignore_index, reduction="sum")
    return total / (labels != ignore_index).sum().clamp(min=1)


SEGMENTERS: dict[str, Callable[[int, bool], nn.Module]] = {
    # Half of the library's default decoder: from scratch at 128x128 the decoder is most of the cost.
    "unet-resnet18": partial(_unet, encoder="resnet18", decoder_channels=(128, 64, 32, 16, 16)),
    # Output stride 8, ASPP rates 12, 24, 36, auxiliary FCN head on layer3 (Chen et al. 2017).
    "deeplabv3-resnet50": partial(_deeplabv3, build=deeplabv3_resnet50, weights=ResNet50_Weights.IMAGENET1K_V1),
    "deeplabv3-resnet101": partial(_deeplabv3, build=deeplabv3_resnet101, weights=ResNet101_Weights.IMAGENET1K_V1),
}
"""Segmenter by name -> how to build its network from (number of classes, pretrained)."""
