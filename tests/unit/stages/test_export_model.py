import io

import numpy as np
import onnxruntime
import pytest
import torch
from tests.helpers.factories import make_sample, write_dataset
from tests.helpers.processes import refuse, succeed

from dataset_diffusion import load_segmenter

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A segmenter that was trained for two steps."""
    folder = tmp_path_factory.mktemp("exporting")
    store = write_dataset(folder / "dataset", [make_sample(index, size=(32, 32)) for index in range(4)])
    succeed("train", store.path, "--iterations", 2, "--batch-size", 2, "--device", "cpu", "--out", folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def photo():
    """RGB of another size than any that the file was checked at."""
    return np.random.default_rng(0).integers(0, 256, (70, 53, 3), dtype=np.uint8)


def given(photo):
    """What the file takes."""
    return (photo.astype(np.float32) / 255).transpose(2, 0, 1)[None]


def test_onnx_labels_a_photo_as_the_segmenter_does(model, photo, tmp_path):
    file = tmp_path / "new" / "segmenter.onnx"
    printed = succeed("export-model", model, "--out", file)
    assert printed.startswith(f"wrote {file}, checked against the segmenter: 100.0000% equal pixels, probabilities ")
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    probabilities, labels = session.run(["probabilities", "labels"], {"images": given(photo)})
    assert (probabilities.dtype, labels.dtype) == (np.float32, np.uint8)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(labels[0], load_segmenter(model, "cpu").predict(photo))


def test_torchscript_labels_a_photo_as_the_segmenter_does(model, photo, tmp_path):
    file = tmp_path / "segmenter.pt"
    file.write_bytes(b"an earlier one")
    succeed("export-model", model, "--format", "torchscript", "--out", file)
    _, labels = torch.jit.load(io.BytesIO(file.read_bytes()))(torch.from_numpy(given(photo)))
    np.testing.assert_array_equal(labels[0], load_segmenter(model, "cpu").predict(photo))


def test_what_cannot_be_written_is_told_before_anything_is_computed(model, tmp_path):
    assert refuse("export-model", model, "--out", tmp_path).startswith("--out is a folder; got ")
    assert refuse("export-model", tmp_path, "--out", tmp_path / "x.onnx").startswith("not a trained segmenter")
    assert "expected one of onnx, torchscript" in refuse("export-model", model, "--format", "tflite", "--out", "x")
    assert not (tmp_path / "x.onnx").exists()
