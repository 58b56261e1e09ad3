"""A trained segmenter as one file that runs without this package: ONNX or TorchScript, compared before it is kept."""

from __future__ import annotations

import copy
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from dataset_diffusion.config import ModelFormat
from dataset_diffusion.errors import ModelError, first_line
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.segmentation.model_folder import TrainedSegmenter
from dataset_diffusion.segmentation.models import Segmenter
from dataset_diffusion.version import __version__

INPUT, OUTPUTS = "images", ("probabilities", "labels")
TRACED, CHECKED = (64, 96), ((1, 128, 128), (2, 97, 131))
"""(height, width) that a graph of any size is traced at, and (batch, height, width) that it is compared at."""
EQUAL_PIXELS, DIFFERENCE = 0.999, 1e-3
"""Where a file differs more from the segmenter than this, it is not kept: share of pixels, and of probability."""

Run = Callable[[Tensor], tuple[np.ndarray, np.ndarray]]
"""Probabilities and class ids of images, by the library that its users run the file with."""


@dataclass(frozen=True)
class Agreement:
    """How far a file computes what the segmenter does.

    Attributes:
        equal_pixels: share of pixels with the same class id, in [0, 1].
        largest_difference: between any two class probabilities.
    """

    equal_pixels: float
    largest_difference: float

    @property
    def holds(self) -> bool:
        """Whether the file can be taken for the segmenter; False where something is not a number."""
        return self.equal_pixels >= EQUAL_PIXELS and self.largest_difference <= DIFFERENCE


class PortableSegmenter(nn.Module):
    """What the file computes, of RGB in [0, 1] "batch 3 h w": class probabilities "batch classes h w", which sum to 1,
    and uint8 class ids "batch h w", 0 background.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        probabilities = self.segmenter(images).softmax(dim=1)
        return probabilities, probabilities.argmax(dim=1).to(torch.uint8)


class OneSize(nn.Module):
    """Images of (height, width) as they are; a RuntimeError at other sizes, which a trace would take and get wrong."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[2] != self.height or images.shape[3] != self.width:
            raise RuntimeError(f"this model takes images of {self.height} x {self.width} pixels alone")
        return images


def export_segmenter(
    trained: TrainedSegmenter, model_format: ModelFormat, size: int | None = None
) -> tuple[bytes, Agreement]:
    """The bytes of a file that computes what the segmenter does, and how well it was found to do so.

    The file takes float32 RGB in [0, 1], "batch 3 h w", and gives ``probabilities`` and ``labels``, see
    `PortableSegmenter`; normalisation is in it, and `metadata`.

    Args:
        trained: the segmenter.
        model_format: ``onnx`` or ``torchscript``.
        size: height and width of the images that it is for, in pixels; None makes it for any.

    Raises:
        ModelError: the file differs from the segmenter, the format cannot express it, it has one size and none is
            given, or ONNX's packages are missing.
    """
    if size is None and not getattr(trained.model.network, "any_size", True):
        raise ModelError(
            f"a graph of {trained.model.name} has one size", fix="--size with height and width of your pictures"
        )
    _check_packages(model_format)
    write, read = _FORMATS[model_format]
    network = PortableSegmenter(copy.deepcopy(trained.model).cpu().eval())
    shapes = CHECKED if size is None else ((1, size, size), (2, size, size))
    try:
        with torch.inference_mode(), _quiet():
            data = write(network, size, metadata(trained.class_set, size))
            agreement = _compare(network, read(data), shapes)
    except Exception as error:  # a network of the user's own, and the tracer, raise what they like
        raise _cannot(trained, model_format, size, got=f"{type(error).__name__}: {first_line(error)}") from error
    if not agreement.holds:
        got = f"{agreement.equal_pixels:.2%} equal pixels, probabilities {agreement.largest_difference:.2g} apart"
        raise _cannot(trained, model_format, size, got=got)
    return data, agreement


def metadata(classes: ClassSet, size: int | None) -> dict[str, str]:
    """What the file says about itself: JSON objects and sentences by name."""
    side = "any height and width" if size is None else f"{size} x {size} pixels"
    return {
        "classes": json.dumps(dict(enumerate(classes.label_names)), ensure_ascii=False),
        "input": f"{INPUT}: float32 RGB in [0, 1], batch 3 height width, {side}",
        "output": "probabilities: float32, batch classes height width; labels: uint8 class ids, batch height width",
        "made_by": f"dataset-diffusion {__version__}",
    }


def _to_onnx(network: PortableSegmenter, size: int | None, told: dict[str, str]) -> bytes:
    import onnx

    dynamic = torch.export.Dim.DYNAMIC
    sides = {2: dynamic, 3: dynamic} if size is None else {}
    program = torch.onnx.export(
        network,
        (_images(2, *(TRACED if size is None else (size, size))),),
        dynamo=True,
        dynamic_shapes={INPUT: {0: dynamic, **sides}},
        input_names=[INPUT],
        output_names=list(OUTPUTS),
        verbose=False,
    )
    assert program is not None  # dynamo=True gives one
    proto = program.model_proto
    for value in (*proto.graph.input, *proto.graph.output):
        dims = value.type.tensor_type.shape.dim
        dims[0].dim_param = "batch"
        if size is None:
            dims[-2].dim_param, dims[-1].dim_param = "height", "width"
    del proto.graph.value_info[:]  # shapes inside, by other names
    onnx.helper.set_model_props(proto, told)
    data: bytes = proto.SerializeToString()
    return data


def _run_onnx(data: bytes) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        probabilities, labels = session.run(list(OUTPUTS), {INPUT: images.numpy()})
        return probabilities, labels

    return run


def _to_torchscript(network: PortableSegmenter, size: int | None, told: dict[str, str]) -> bytes:
    checked: nn.Module = network
    if size is not None:
        checked = nn.Sequential(torch.jit.script(OneSize(size, size)), network)
    example = _images(2, *(TRACED if size is None else (size, size)))
    traced = torch.jit.trace(checked, example, check_trace=False)  # type: ignore[no-untyped-call]
    buffer = io.BytesIO()
    torch.jit.save(traced, buffer, _extra_files=told)
    return buffer.getvalue()


def _run_torchscript(data: bytes) -> Run:
    model: Any = torch.jit.load(io.BytesIO(data), map_location="cpu")  # type: ignore[no-untyped-call]

    def run(images: Tensor) -> tuple[np.ndarray, np.ndarray]:
        probabilities, labels = model(images)
        return probabilities.numpy(), labels.numpy()

    return run


_FORMATS: dict[ModelFormat, tuple[Callable[[PortableSegmenter, int | None, dict[str, str]], bytes], Callable[..., Run]]]
_FORMATS = {"onnx": (_to_onnx, _run_onnx), "torchscript": (_to_torchscript, _run_torchscript)}


def _compare(network: PortableSegmenter, run: Run, shapes: tuple[tuple[int, int, int], ...]) -> Agreement:
    equal, differences = [], []
    for shape in shapes:
        images = _images(*shape)
        (probabilities, labels), (its_probabilities, its_labels) = network(images), run(images)
        equal.append((labels.numpy() == its_labels).ravel())
        differences.append(np.abs(probabilities.numpy() - its_probabilities).max())
    return Agreement(float(np.concatenate(equal).mean()), float(np.max(differences)))


def _images(batch: int, height: int, width: int) -> Tensor:
    """Made-up pictures: soft patches of colour under noise."""
    generator = torch.Generator().manual_seed(height * width)
    patches = interpolate(torch.rand((batch, 3, 8, 8), generator=generator), (height, width), mode="bilinear")
    return 0.8 * patches + 0.2 * torch.rand((batch, 3, height, width), generator=generator)


def _check_packages(model_format: ModelFormat) -> None:
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if model_format == "onnx" and missing:
        raise ModelError(
            "ONNX needs packages", got=f"no {', '.join(missing)}", fix="pip install 'dataset-diffusion[onnx]'"
        )


def _cannot(trained: TrainedSegmenter, model_format: ModelFormat, size: int | None, got: str) -> ModelError:
    other = {"onnx": "torchscript", "torchscript": "onnx"}[model_format]
    fix = f"--format {other}" if size is not None else f"--size SIDE, for pictures of one size, or --format {other}"
    return ModelError(f"{trained.model.name} cannot be exported as {model_format}", got=got, fix=fix)


@contextmanager
def _quiet() -> Iterator[None]:
    """The tracers' warnings are for their own developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
