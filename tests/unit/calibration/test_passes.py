import numpy as np

from dataset_diffusion.calibration.passes import Pass, keep_pass
from dataset_diffusion.diffusion.specs import MODELS
from dataset_diffusion.records import Heatmaps


def found():
    values = np.linspace(0, 1, 12, dtype=np.float16).reshape(1, 3, 2, 2)
    ranges = np.array([[[0, 1], [0.5, 2], [0, 3]]], np.float32)
    return Pass(MODELS["embedded"].resolve_reading("plain"), [Heatmaps((4,), values, ranges)], 0.75)


def never():
    raise AssertionError("looked again")


def test_what_was_kept_is_what_was_found(tmp_path):
    file, first = tmp_path / "new" / "level-1.npz", found()
    keep_pass(file, lambda: first)
    again = keep_pass(file, never)
    assert (again.reading, again.score) == (first.reading, first.score)
    (before,), (after,) = first.heatmaps, again.heatmaps
    assert after.exponents == before.exponents
    assert after.values.tobytes() == before.values.tobytes()
    assert after.ranges.tobytes() == before.ranges.tobytes()


def test_a_damaged_file_is_made_again(tmp_path):
    file = tmp_path / "level-1.npz"
    keep_pass(file, found)
    whole = file.read_bytes()
    for damaged in (b"", b"no archive", whole[:-40], whole[:100]):
        file.write_bytes(damaged)
        assert keep_pass(file, found).score == 0.75
        assert keep_pass(file, never).score == 0.75


def test_without_a_file_nothing_is_kept(tmp_path):
    assert keep_pass(None, found).score == 0.75
    assert list(tmp_path.iterdir()) == []
