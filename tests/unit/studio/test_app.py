import json

import numpy as np
import pytest
from starlette.testclient import TestClient

from dataset_diffusion.config import LabelSettings
from dataset_diffusion.studio.app import Studio, new_token
from dataset_diffusion.studio.keeper import Keeper
from dataset_diffusion.studio.views import Views

ADDRESS = "http://127.0.0.1"
TOKEN = "token"


@pytest.fixture
def keeper(dataset, tmp_path):
    return Keeper(dataset, tmp_path / "decided")


@pytest.fixture
def client(dataset, keeper):
    return TestClient(Studio(Views(dataset), keeper).app(TOKEN), base_url=ADDRESS)


def test_the_page_and_its_parts_are_served_below_the_token(client):
    page = client.get(f"/{TOKEN}/")
    assert page.status_code == 200
    assert "<script type" in page.text
    assert client.get(f"/{TOKEN}/main.js").headers["content-type"].startswith("text/javascript")
    for path in ("/", "/main.js", "/dataset.json", "/other/dataset.json", f"/{TOKEN}x/", "/samples/0/image"):
        assert client.get(path).status_code == 404
    assert client.get(f"/{TOKEN}/../app.py").status_code == 404
    assert client.get(f"/{TOKEN}/%2e%2e/app.py").status_code == 404
    assert new_token() != new_token()


def test_nothing_leaves_the_machine_and_no_other_page_gets_in(dataset, keeper, client):
    headers = client.get(f"/{TOKEN}/").headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["referrer-policy"] == "no-referrer"
    foreign = TestClient(Studio(Views(dataset), keeper).app(TOKEN), base_url="http://evil.example")
    assert foreign.get(f"/{TOKEN}/").status_code == 400


def test_maps_come_with_their_shape(dataset, client):
    label = client.get(f"/{TOKEN}/samples/1/label")
    assert json.loads(label.headers["x-shape"]) == [12, 20]
    assert label.content == dataset.label(1).tobytes()
    evidence = client.get(f"/{TOKEN}/samples/1/evidence?exponent=0&refine=none&side=5")
    assert json.loads(evidence.headers["x-shape"]) == [3, 5]
    assert len(evidence.content) == 15 * 5
    heatmaps = client.get(f"/{TOKEN}/samples/1/heatmaps?exponent=0")
    assert json.loads(heatmaps.headers["x-shape"]) == [2, 3, 5]


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("samples/7/image", 404, "sample 7"),
        ("samples/0/evidence?exponent=3", 400, "exponent"),
        ("samples/0/evidence?exponent=2", 400, "no heatmaps are stored for this exponent"),
        ("samples/0/evidence?refine=<b>", 400, "refine"),
        ("samples/0/image?side=big", 400, "bad side"),
        ("samples/0/label?of=corrected", 400, "no label map of this kind"),
        ("samples/-1/image", 404, ""),
    ],
)
def test_what_cannot_be_answered_says_why(client, path, status, said):
    answer = client.get(f"/{TOKEN}/{path}")
    assert answer.status_code == status
    assert said in answer.text
    assert answer.headers["content-type"].startswith("text/plain")


def test_decisions_and_corrections_are_kept(client, keeper):
    own = LabelSettings(exponent=0).model_dump()
    assert client.put(f"/{TOKEN}/samples/1/decision", json={"keep": False, "label": own}).status_code == 204
    assert client.put(f"/{TOKEN}/label", json=own).status_code == 204
    drawn = np.full((12, 20), 2, np.uint8)
    assert client.put(f"/{TOKEN}/samples/2/correction", content=drawn.tobytes()).status_code == 204
    assert client.get(f"/{TOKEN}/samples/2/label?of=corrected").content == drawn.tobytes()
    saved = client.get(f"/{TOKEN}/decisions.json").json()
    assert saved == keeper.decisions.model_dump(mode="json")
    assert saved["samples"]["00000001"]["keep"] is False
    assert client.delete(f"/{TOKEN}/samples/2/correction").status_code == 204
    assert client.put(f"/{TOKEN}/label", content=b"null").status_code == 204
    assert keeper.decisions.label is None
    assert keeper.corrected(2) is None


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("samples/1/decision", b'{"keep": "perhaps"}', "keep"),
        ("samples/1/decision", b'{"more": 1}', "more"),
        ("label", b'{"threshold": 2}', "threshold"),
        ("samples/1/correction", b"123", "another size"),
        ("samples/1/correction", bytes([9]) * 240, "outside the class set: 9"),
        ("samples/7/decision", b"{}", "sample 7"),
    ],
)
def test_what_cannot_be_kept_is_refused(client, keeper, path, body, said):
    answer = client.put(f"/{TOKEN}/{path}", content=body)
    assert answer.status_code in {400, 404}
    assert said in answer.text
    assert keeper.decisions.samples == {}
    assert not keeper.folder.exists()
