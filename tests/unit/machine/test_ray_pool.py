import socket
from pathlib import Path

import pytest

from dataset_diffusion.errors import ConfigError

ray = pytest.importorskip("ray")

from dataset_diffusion.machine.ray_pool import absolute, cluster  # noqa: E402

pytestmark = pytest.mark.slow

HOW_TO_START = "fix: start it with `ray start --head`, or leave --address out to start one here"


@pytest.fixture
def dead_address():
    """An address that nobody listens at, and nobody can take meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def no_cluster(tmp_path, monkeypatch):
    """A machine where Ray finds no cluster; gives the file in which it would leave its address."""
    if any(b"gcs_server" in read(process / "cmdline") for process in Path("/proc").glob("[0-9]*")):
        pytest.skip("a Ray cluster runs on this machine, and is found")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray" / "ray_current_cluster"


def read(file):
    try:
        return file.read_bytes()
    except OSError:
        return b""


def refused(address, **options):
    with pytest.raises(ConfigError) as error, cluster(address, **options):
        pytest.fail("there is no such cluster")
    assert not ray.is_initialized()
    return str(error.value)


def test_a_dead_cluster_is_given_up_after_a_while(dead_address):
    message = f"cannot reach the Ray cluster {dead_address}; got no answer within 8 seconds; {HOW_TO_START}"
    assert refused(dead_address, patience=8) == message


def test_the_address_of_a_dead_cluster_that_was_left_behind(no_cluster, dead_address):
    no_cluster.write_text(dead_address)
    assert (
        refused("auto", patience=8)
        == f"cannot reach the Ray cluster auto; got no answer within 8 seconds; {HOW_TO_START}"
    )


@pytest.mark.usefixtures("no_cluster")
def test_no_cluster_to_be_found():
    message = refused("auto")
    assert message.startswith("cannot reach the Ray cluster auto; got Could not find any running Ray instance. ")
    assert message.endswith(f"; {HOW_TO_START}")


def test_a_start_that_fails_is_tried_again_and_then_told(monkeypatch):
    tried = []

    def fail(address, **_):
        tried.append(address)
        raise Exception("The current node timed out during startup.\nSee elsewhere.")  # noqa: TRY002, as Ray does

    monkeypatch.setattr(ray, "init", fail)
    assert refused(None) == (
        "cannot start Ray here; got The current node timed out during startup.; "
        "fix: see the logs below /tmp/ray; a machine with cores to spare starts it in seconds"
    )
    assert tried == ["local"] * 3


def test_folders_are_named_as_other_processes_see_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    assert absolute("model") == str(tmp_path / "model")
    assert absolute("nobody/model") == "nobody/model"
