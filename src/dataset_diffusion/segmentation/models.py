"""The segmenters by name, behind one calling convention: RGB in [0, 1] in, logits at the size of the input out.

Libraries of networks take seconds to import: each is imported when a network of its own is built.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dataset_diffusion.errors import ModelError, first_line
from dataset_diffusion.machine.hub import prepare_hub
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.segmentation.own_network import import_network, is_import_path

Colour = tuple[float, float, float]
"""RGB, of [0, 1]."""

IMAGENET_MEAN: Colour = (0.485, 0.456, 0.406)
IMAGENET_STD: Colour = (0.229, 0.224, 0.225)
AUXILIARY_WEIGHT = 0.4
"""Weight of the auxiliary head's loss beside the main one's (PSPNet, section 4)."""


@runtime_checkable
class HasLoss(Protocol):
    """A network whose loss is not a cross-entropy of its logits. Its arguments are ``Segmenter.loss``'s, normalised."""

    def loss(self, images: Tensor, labels: Tensor) -> Tensor: ...


@runtime_checkable
class HasNormalization(Protocol):
    """A network whose images are normalised by other means and deviations than ImageNet's, of RGB in [0, 1]."""

    mean: Colour
    std: Colour


class Segmenter(nn.Module):
    """A network of ``SEGMENTERS`` wrapped at the edge, so that everything after it sees one calling convention."""

    def __init__(self, network: nn.Module, name: str, num_classes: int) -> None:
        super().__init__()
        # Convolutions run faster with the channels last, on the CPU and on GPUs alike.
        self.network = network.to(memory_format=torch.channels_last)
        self.name = name
        self.num_classes = num_classes
        self.mean: Colour = IMAGENET_MEAN
        self.std: Colour = IMAGENET_STD
        if isinstance(network, HasNormalization):
            self.mean, self.std = network.mean, network.std

    def forward(self, images: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch classes h w"]:
        """Logits, background first, of RGB in [0, 1], at the size of the images whatever it is."""
        return self.heads(images)["out"]

    def loss(
        self,
        images: Float[Tensor, "batch 3 h w"],
        labels: Integer[Tensor, "batch h w"],
        weights: Integer[Tensor, "batch h w"] | None = None,
        robustness: float = 0.0,
    ) -> Float[Tensor, ""]:
        """The network's own loss, by default mean cross-entropy, over the labelled pixels; 0 where there is none.

        Args:
            images: RGB in [0, 1].
            labels: class ids, 0 background, 255 where the label says nothing.
            weights: how much each pixel counts, in 255ths; None counts all alike. A network with a loss of its own
                takes none, and no robustness.
            robustness: q of the generalised cross-entropy ``(1 - p^q) / q`` of the label's probability p, in [0, 1];
                0 is its limit, cross-entropy (Zhang and Sabuncu 2018, equation 6).
        """
        if isinstance(self.network, HasLoss):
            return self.network.loss(self._normalized(images), labels)
        heads = self.heads(images)
        loss = _cross_entropy(heads["out"], labels, weights, robustness)
        if "aux" in heads:
            loss = loss + AUXILIARY_WEIGHT * _cross_entropy(heads["aux"], labels, weights, robustness)
        return loss

    @property
    def has_own_loss(self) -> bool:
        """Whether its loss is another one than cross-entropy."""
        return isinstance(self.network, HasLoss)

    @property
    def encoder(self) -> nn.Module | None:
        """The part of the network that ImageNet weights are for; None where a network of the user's own names none."""
        # Called backbone by torchvision.
        return cast(nn.Module | None, getattr(self.network, "encoder", getattr(self.network, "backbone", None)))

    def heads(self, images: Float[Tensor, "batch 3 h w"]) -> dict[str, Tensor]:
        """Logits ``out``, and ``aux`` where the network has an auxiliary head, as the network gives them."""
        outputs = self.network(self._normalized(images))
        return {"out": outputs} if isinstance(outputs, Tensor) else outputs

    def _normalized(self, images: Tensor) -> Tensor:
        from torchvision.transforms.v2.functional import normalize

        normalized: Tensor = normalize(images, mean=self.mean, std=self.std)
        return normalized.contiguous(memory_format=torch.channels_last)


def build_segmenter(name: str, num_classes: int, pretrained: bool = False) -> Segmenter:
    """Build an untrained segmenter.

    Args:
        name: a row of ``SEGMENTERS``, or the import path of a callable that makes a network from ``num_classes``.
        num_classes: K + 1, the background included.
        pretrained: start the encoder from ImageNet weights, fetched on first use; otherwise from random ones. A network
            of the user's own starts as it is made.

    Raises:
        ModelError: no such segmenter, the pretrained weights cannot be had, or the user's own code fails.
    """
    if is_import_path(name):
        return Segmenter(import_network(name, num_classes), name, num_classes)
    if name not in SEGMENTERS:
        own = "your own as module:function"
        raise ModelError("no such segmenter", got=repr(name), expected=f"one of {', '.join(SEGMENTERS)}, or {own}")
    if pretrained:
        prepare_hub()
    try:
        network = SEGMENTERS[name](num_classes, pretrained)
    # A file that was cut short is a RuntimeError to torch; everything else is some OSError.
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise ModelError(
            f"cannot get the ImageNet weights of {name}",
            got=f"{type(error).__name__}: {first_line(error)}",
            fix="connect to the internet once, or train with --no-pretrained",
        ) from error
    return Segmenter(network, name, num_classes)


def _unet(num_classes: int, pretrained: bool, *, encoder: str, decoder_channels: tuple[int, ...]) -> nn.Module:
    import segmentation_models_pytorch as smp

    network: nn.Module = smp.Unet(
        encoder,
        encoder_weights="imagenet" if pretrained else None,
        decoder_channels=decoder_channels,
        classes=num_classes,
    )
    return network


class _Stages(nn.Module):
    """The last two stages of a timm network at output stride 8, as torchvision's DeepLabV3 takes them."""

    def __init__(self, name: str, pretrained: bool) -> None:
        import timm

        super().__init__()
        self.stages = timm.create_model(name, pretrained, features_only=True, output_stride=8, out_indices=(3, 4))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return dict(zip(("aux", "out"), self.stages(images), strict=True))


def _unet_lite(num_classes: int, pretrained: bool, *, decoder_channels: tuple[int, ...]) -> nn.Module:
    from dataset_diffusion.segmentation.efficientnet import UNetEfficientNetLite0

    return UNetEfficientNetLite0(num_classes, pretrained, decoder_channels)


def _deeplabv3(num_classes: int, pretrained: bool, *, backbone: str, published_head: bool = False) -> nn.Module:
    from torchvision.models.segmentation import DeepLabV3
    from torchvision.models.segmentation.deeplabv3 import DeepLabHead
    from torchvision.models.segmentation.fcn import FCNHead

    from dataset_diffusion.segmentation.published_head import PublishedHead

    stages = _Stages(backbone, pretrained)
    aux_channels, out_channels = stages.stages.feature_info.channels()
    head = PublishedHead if published_head else DeepLabHead
    network: nn.Module = DeepLabV3(stages, head(out_channels, num_classes), FCNHead(aux_channels, num_classes))
    return network


def _segformer(num_classes: int, pretrained: bool, *, size: str) -> nn.Module:
    from dataset_diffusion.segmentation.segformer import SegFormer

    return SegFormer(num_classes, size, pretrained)


def _mask2former(num_classes: int, pretrained: bool, *, size: str) -> nn.Module:
    from dataset_diffusion.segmentation.mask2former import Mask2Former

    return Mask2Former(num_classes, size, pretrained)


def _cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None, robustness: float) -> Tensor:
    if weights is not None or robustness:
        return _forgiving_loss(logits, labels, weights, robustness)
    # reduction="mean" is 0 / 0 for a batch without a labelled pixel: one such batch would undo the whole training.
    total = cross_entropy(logits.float(), labels.long(), ignore_index=ClassSet.ignore_index, reduction="sum")
    return total / (labels != ClassSet.ignore_index).sum().clamp(min=1)


def _forgiving_loss(logits: Tensor, labels: Tensor, weights: Tensor | None, robustness: float) -> Tensor:
    labelled = labels != ClassSet.ignore_index
    weight = labelled.float() if weights is None else labelled * weights.float() / 255
    losses = cross_entropy(logits.float(), labels.long(), ignore_index=ClassSet.ignore_index, reduction="none")
    if robustness:
        losses = (1 - (-robustness * losses).exp()) / robustness
    return (losses * weight).sum() / weight.sum().clamp(min=1)


SEGMENTERS: dict[str, Callable[[int, bool], nn.Module]] = {
    # Half of the library's default decoder: from scratch at 128x128 the decoder is most of the cost.
    "unet-resnet18": partial(_unet, encoder="resnet18", decoder_channels=(128, 64, 32, 16, 16)),
    "unet-efficientnet-lite0": partial(_unet_lite, decoder_channels=(128, 64, 32, 16, 16)),
    # Output stride 8, ASPP rates 12, 24, 36, auxiliary FCN head on layer3 (Chen et al. 2017). The large ones have the
    # paper's ResNet-v1c: three 3x3 convolutions where a ResNet begins with one of 7x7.
    "deeplabv3-resnet18": partial(_deeplabv3, backbone="resnet18"),
    "deeplabv3-resnet50": partial(_deeplabv3, backbone="resnet50c.gluon_in1k"),
    "deeplabv3-resnet101": partial(_deeplabv3, backbone="resnet101c.gluon_in1k"),
    # The published head is twice as wide as torchvision's.
    "deeplabv3-resnet50-published": partial(_deeplabv3, backbone="resnet50c.gluon_in1k", published_head=True),
    "deeplabv3-resnet101-published": partial(_deeplabv3, backbone="resnet101c.gluon_in1k", published_head=True),
    "mask2former-small": partial(_mask2former, size="small"),
    "mask2former-resnet50": partial(_mask2former, size="resnet50"),
    "segformer-b0": partial(_segformer, size="b0"),
    "segformer-b1": partial(_segformer, size="b1"),
    "segformer-b2": partial(_segformer, size="b2"),
    "segformer-b3": partial(_segformer, size="b3"),
    "segformer-b4": partial(_segformer, size="b4"),
    "segformer-b5": partial(_segformer, size="b5"),
}
"""Segmenter by name -> how to build its network from (number of classes, pretrained)."""
