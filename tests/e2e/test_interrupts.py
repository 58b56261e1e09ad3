"""Ctrl-C ends every command with status 130 and one line, with and without workers, and the same command resumes."""

import signal

import pytest
from tests.helpers.factories import make_heatmaps, make_sample, write_dataset
from tests.helpers.processes import Command, files_of

pytestmark = pytest.mark.slow

NUM_SAMPLES = 40


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    def sample(index):
        scores = {"uncertain": 0.1, "presence": 0.5, "presence.1": 0.5}
        return make_sample(index, size=(96, 96), heatmaps=make_heatmaps(index, size=(24, 24)), quality=scores)

    return write_dataset(
        tmp_path_factory.mktemp("interrupts") / "dataset", sample, num_samples=NUM_SAMPLES, shard_size=1
    )


LABELS = ("--exponent", "4", "--threshold", "0.7", "--refine", "pamr")
COMMANDS = {
    "relabel in this process": ("relabel", "DATASET", "--out", "OUT", "--num-workers", "1", *LABELS),
    "relabel in processes": ("relabel", "DATASET", "--out", "OUT", "--num-workers", "2", *LABELS),
    "filter": ("filter", "DATASET", "--out", "OUT", "--rule", "uncertain <= 1"),
    "export": ("export", "DATASET", "--out", "OUT", "--format", "png"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_is_a_stop(name, dataset, tmp_path):
    out = tmp_path / "out"
    line = [{"DATASET": dataset.path, "OUT": out}.get(word, word) for word in COMMANDS[name]]
    stopped = Command(*line, printed=tmp_path / "printed")
    stopped.wait_until(lambda: any(path.name in {"00000.parquet", "00000.jsonl"} for path in out.rglob("0*")))
    stopped.send(signal.SIGINT)
    assert stopped.wait() == 130
    assert stopped.last_line == "interrupted: the same command resumes"
    assert not list(out.rglob(".*.tmp"))
    assert Command(*line, printed=tmp_path / "printed").wait() == 0
    begun = files_of(out)
    again = [str(tmp_path / "whole") if word == out else word for word in line]
    assert Command(*again, printed=tmp_path / "printed").wait() == 0
    assert files_of(tmp_path / "whole") == begun


def test_ctrl_c_while_a_dataset_is_verified(dataset, tmp_path):
    stopped = Command("verify", dataset.path, "--num-workers", 2, printed=tmp_path / "printed")
    stopped.wait_until(lambda: any("Check every picture" in line for line in stopped.lines))
    stopped.send(signal.SIGINT)
    assert stopped.wait() in {0, 130}  # it may have been done by then
