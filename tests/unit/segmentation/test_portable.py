import io
import json

import onnx
import pytest
import torch
from torch import nn

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.errors import ModelError
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.segmentation import portable
from dataset_diffusion.segmentation.model_folder import TrainedSegmenter
from dataset_diffusion.segmentation.models import Segmenter
from dataset_diffusion.segmentation.portable import Agreement, OneSize, export_segmenter

pytestmark = pytest.mark.slow

CLASSES = ClassSet.from_names(["cat", "Öl | fass"])


def trained(network):
    return TrainedSegmenter(Segmenter(network, "mine", 3).eval(), CLASSES, TrainSettings())


@pytest.fixture
def plain():
    """Three classes from the colours of a pixel."""
    torch.manual_seed(0)
    return trained(nn.Conv2d(3, 3, 1))


def told(data, model_format):
    if model_format == "onnx":
        return {one.key: one.value for one in onnx.load_from_string(data).metadata_props}
    files = dict.fromkeys(portable.metadata(CLASSES, None), "")
    torch.jit.load(io.BytesIO(data), _extra_files=files)
    return {name: text.decode() for name, text in files.items()}


@pytest.mark.parametrize("model_format", ["onnx", "torchscript"])
def test_the_file_says_what_its_classes_and_its_input_are(plain, model_format):
    data, agreement = export_segmenter(plain, model_format)
    assert agreement.holds
    about = told(data, model_format)
    assert json.loads(about["classes"]) == {"0": "background", "1": "cat", "2": "Öl | fass"}
    assert "float32 RGB in [0, 1]" in about["input"]
    assert "any height and width" in about["input"]


def test_onnx_names_what_may_vary(plain):
    graph = onnx.load_from_string(export_segmenter(plain, "onnx")[0]).graph
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert shapes == {
        "images": ["batch", 3, "height", "width"],
        "probabilities": ["batch", 3, "height", "width"],
        "labels": ["batch", "height", "width"],
    }


def test_a_file_of_one_size_refuses_others(plain):
    data, _ = export_segmenter(plain, "torchscript", size=40)
    model = torch.jit.load(io.BytesIO(data))
    assert model(torch.zeros(2, 3, 40, 40))[1].shape == (2, 40, 40)
    with pytest.raises(Exception, match="images of 40 x 40 pixels alone"):
        model(torch.zeros(2, 3, 40, 48))
    run = portable._run_onnx(export_segmenter(plain, "onnx", size=40)[0])
    assert run(torch.zeros(3, 3, 40, 40))[1].shape == (3, 40, 40)
    with pytest.raises(Exception, match="Expected: 40"):
        run(torch.zeros(1, 3, 48, 40))


def test_one_size_by_hand():
    assert OneSize(2, 3)(torch.ones(1, 3, 2, 3)).sum() == 18
    with pytest.raises(RuntimeError, match="2 x 3 pixels"):
        OneSize(2, 3)(torch.ones(1, 3, 3, 2))


class ForgetsSizes(nn.Module):
    """What it adds has the size of the images that it saw first, cut to the others'; a trace keeps that."""

    def forward(self, images):
        height, width = (int(side) for side in images.shape[-2:])
        rows = torch.linspace(-9, 9, height)[:, None].expand(height, width)
        return torch.stack([rows, -rows, 0 * rows])[None] + 0 * images.sum()


class Loops(nn.Module):
    """What it computes depends on the pixels' values, which no graph has."""

    def forward(self, images):
        steps = int(images.sum().item()) % 3
        return images * (steps + 1)


@pytest.mark.parametrize(("network", "model_format"), [(ForgetsSizes(), "torchscript"), (Loops(), "onnx")])
def test_a_file_that_computes_something_else_is_refused(network, model_format):
    with pytest.raises(
        ModelError, match=rf"^mine cannot be exported as {model_format}; got .*fix: --size SIDE"
    ) as error:
        export_segmenter(trained(network), model_format)
    assert "\n" not in str(error.value)


def test_a_segmenter_of_one_size_wants_to_know_it(plain):
    plain.model.network.any_size = False
    with pytest.raises(ModelError, match="a graph of mine has one size; fix: --size with"):
        export_segmenter(plain, "onnx")


def test_the_packages_of_onnx_are_named_where_they_are_missing(plain, monkeypatch):
    monkeypatch.setattr(portable, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(ModelError, match=r"got no onnxruntime; fix: pip install 'dataset-diffusion\[onnx\]'"):
        export_segmenter(plain, "onnx")
    assert export_segmenter(plain, "torchscript")[1].holds


def test_what_is_no_number_does_not_agree():
    assert Agreement(1.0, 1e-4).holds
    assert not Agreement(1.0, float("nan")).holds
    assert not Agreement(0.99, 0.0).holds
    assert not Agreement(1.0, 0.01).holds


def test_the_segmenter_stays_as_it_was(plain):
    before = {name: weight.clone() for name, weight in plain.model.state_dict().items()}
    export_segmenter(plain, "torchscript")
    assert all(weight.requires_grad for weight in plain.model.parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in plain.model.state_dict().items())
