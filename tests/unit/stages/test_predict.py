import csv

import numpy as np
import pytest
from PIL import Image
from tests.helpers.factories import FORKLIFTS, make_sample, write_dataset
from tests.helpers.processes import files_of, refuse, succeed, times_of

from dataset_diffusion import load_segmenter

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A segmenter that was trained for two steps."""
    folder = tmp_path_factory.mktemp("predicting")
    store = write_dataset(folder / "dataset", [make_sample(index, size=(32, 32)) for index in range(4)])
    succeed("train", store.path, "--iterations", 2, "--batch-size", 2, "--device", "cpu", "--out", folder / "model")
    return folder / "model"


@pytest.fixture
def photos(tmp_path):
    """Photos of two sizes, two that differ in their suffix alone, one in a folder."""
    random = np.random.default_rng(0)
    for name, size in {"a.png": (40, 64), "a.bmp": (40, 64), "b.png": (100, 70), "frames/0001.png": (40, 64)}.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


def test_every_photo_has_a_label_map_an_overlay_and_a_row_of_shares(model, photos, tmp_path):
    out = tmp_path / "out"
    words = ("predict", model, photos, "--device", "cpu", "--out", out)
    assert succeed(*words) == f"4 photos labelled in {out / 'labels'}, class shares in {out / 'shares.csv'}\n"
    with (out / "shares.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["name", "background", *FORKLIFTS.names]
    assert [row[0] for row in rows] == ["a.bmp", "a.png", "b", "frames/0001"]
    segmenter = load_segmenter(model, device="cpu")
    for name, *shares in rows:
        label = np.array(Image.open(out / "labels" / f"{name}.png"))
        image = np.array(Image.open(photos / (name if name.startswith("a") else f"{name}.png")))
        np.testing.assert_array_equal(label, segmenter.predict(image))
        assert Image.open(out / "overlays" / f"{name}.jpg").size == label.shape[::-1]
        assert [float(share) for share in shares] == pytest.approx(
            [(label == one).mean() for one in range(3)], abs=1e-6
        )


def test_it_resumes_and_a_finished_one_is_left_as_it_is(model, photos, tmp_path):
    out = tmp_path / "out"
    words = ("predict", model, photos, "--device", "cpu", "--out", out)
    succeed(*words)
    files, times = files_of(out), times_of(out / "labels")
    (out / "labels" / "b.png").unlink()
    for left in (".predict.json.0badcafe.tmp", "labels/.b.png.0badcafe.tmp", "overlays/frames/.0001.jpg.0badcafe.tmp"):
        (out / left).write_bytes(b"half")  # as a kill leaves it
    succeed(*words)
    assert files_of(out) == files
    assert {name for name, time in times_of(out / "labels").items() if times[name] != time} == {"b.png"}


def test_a_large_photo_is_seen_through_windows(model, photos, tmp_path):
    for window in (32, 1024):
        words = ("--sliding-window", window, "--device", "cpu", "--out", tmp_path / str(window))
        succeed("predict", model, photos / "b.png", *words)
    small, large = (np.array(Image.open(tmp_path / name / "labels" / "b.png")) for name in ("32", "1024"))
    assert small.shape == large.shape == (100, 70)
    np.testing.assert_array_equal(
        small, load_segmenter(model, "cpu").predict(np.array(Image.open(photos / "b.png")), 32)
    )


def test_what_cannot_be_used_is_told_in_one_line(model, photos, tmp_path):
    (photos / "broken.png").write_text("no picture")
    words = ("predict", model, photos, "--device", "cpu", "--out", tmp_path / "out")
    assert refuse(*words).startswith("a photo cannot be read; got ")
    assert succeed(*words, "--skip-bad").startswith("4 photos labelled")
    told = refuse(*words, "--skip-bad", "--sliding-window", 32)
    assert told.startswith(f"{tmp_path / 'out'} holds other predictions; got sliding_window: 32 (here: 1024)")
    assert refuse("predict", tmp_path, photos, "--out", tmp_path / "x").startswith("not a trained segmenter")
