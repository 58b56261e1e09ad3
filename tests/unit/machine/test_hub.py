import json
import re
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file
from tests.helpers.processes import refuse
from tests.helpers.tiny_captioner import save_tiny_captioner
from tests.helpers.tiny_clip import save_tiny_clip

import dataset_diffusion
from dataset_diffusion.dataset.filtering.image_text import load_image_text
from dataset_diffusion.errors import ModelError
from dataset_diffusion.machine.hub import prepare_hub
from dataset_diffusion.prompts.captioner import load_captioner

LOADERS = {"captioner": (save_tiny_captioner, load_captioner), "image-text": (save_tiny_clip, load_image_text)}
EVIL = """
from pathlib import Path
Path({path!r}).write_text("run")
from transformers import PretrainedConfig, ProcessorMixin
class Config(PretrainedConfig): model_type = "evil"
class Model: pass
class Processor(ProcessorMixin): pass
"""
CLASSES = {"AutoConfig": "Config", "AutoModelForImageTextToText": "Model", "AutoModel": "Model"}
CLASSES |= dict.fromkeys(("AutoProcessor", "AutoImageProcessor"), "Processor")


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


@pytest.mark.slow
@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("file", ["config.json", "processor_config.json", "tokenizer_config.json"])
def test_code_in_a_folder_is_neither_run_nor_asked_about(kind, file, tmp_path, monkeypatch):
    save, load = LOADERS[kind]
    save(tmp_path / "model")
    ran = tmp_path / "ran"
    (tmp_path / "model" / "evil.py").write_text(EVIL.format(path=str(ran)))
    settings = json.loads((tmp_path / "model" / file).read_text())
    settings["auto_map"] = {auto: f"evil.{name}" for auto, name in CLASSES.items()} | {
        "AutoTokenizer": ["evil.Model", None]
    }
    (tmp_path / "model" / file).write_text(json.dumps(settings | {"processor_class": "Processor"}))
    monkeypatch.setattr("builtins.input", lambda *asked: pytest.fail(f"asked {asked}"))
    with suppress(ModelError):
        load(str(tmp_path / "model"), "cpu")
    assert not ran.exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", LOADERS)
def test_weights_that_can_run_code_are_refused(kind, tmp_path):
    save, load = LOADERS[kind]
    save(tmp_path)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        load(str(tmp_path), "cpu")


def test_every_from_pretrained_says_what_it_may_load():
    sources = [file.read_text() for file in Path(dataset_diffusion.__file__).parent.rglob("*.py")]
    pattern = re.compile(r"\.from_pretrained\((?:[^()]|\([^()]*\))*\)")
    calls = [call for source in sources for call in pattern.findall(source)]
    assert calls
    assert all("**SAFE" in call or "**NO_CODE" in call for call in calls)
