import socket

import pytest
from tests.helpers.factories import make_sample, write_dataset
from tests.helpers.processes import refuse

from dataset_diffusion.disk.locks import folder_lock


@pytest.fixture
def dataset(tmp_path):
    return write_dataset(tmp_path / "data", [make_sample(0)]).path


def test_there_must_be_a_dataset(tmp_path):
    assert "not a dataset" in refuse("studio", tmp_path)


def test_a_port_that_is_taken_is_told(dataset):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = refuse("studio", dataset, "--port", taken.getsockname()[1])
    assert said.startswith("the studio cannot listen; got port")
    assert not dataset.with_name("data.decisions").exists()


def test_one_studio_at_a_time_keeps_decisions(dataset, tmp_path):
    with folder_lock(tmp_path / "decided"):
        assert "is being written" in refuse("studio", dataset, "--decisions", tmp_path / "decided")


def test_decisions_about_other_pictures_are_refused(dataset, tmp_path):
    (tmp_path / "decisions.json").write_text('{"pictures": "0"}')
    assert "is about other pictures" in refuse("studio", dataset, "--decisions", tmp_path)
