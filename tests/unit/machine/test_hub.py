import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from huggingface_hub import constants
from PIL import Image
from tests.helpers.processes import refuse

from dataset_diffusion.machine.hub import prepare_hub


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    """A machine without a network and without anything downloaded before."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def test_libraries_look_into_their_caches_where_there_is_no_hub(no_hub):
    prepare_hub()
    assert constants.HF_HUB_OFFLINE


def test_a_hub_that_answers_is_used(monkeypatch):
    asked = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        prepare_hub()
        server.shutdown()
    assert asked == ["/"]
    assert not constants.HF_HUB_OFFLINE


def test_a_command_without_a_network_ends_with_one_line(no_hub, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    message = refuse("prompts", "--captions", tmp_path, "--captioner", "nobody/none", "--out", tmp_path / "p.jsonl")
    assert message.startswith("cannot get the captioner; got nobody/none; ")
