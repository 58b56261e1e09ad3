import pytest
from tests.helpers.label_maps import HARD, make_store
from tests.helpers.processes import files_of, refuse, succeed, times_of

from dataset_diffusion.disk.locks import folder_lock

FORMATS = "coco, cvat, huggingface, label-studio, png, voc, webdataset, yolo, yolo-semantic"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("exporting") / "dataset", [HARD["comb"]] * 3).path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "missing --format; fix: see dataset-diffusion export --help"),
        ("--format mscoco", f"bad value of --format; got mscoco; expected one of {FORMATS}"),
        (
            "--format voc --polygons",
            "bad value of --polygons; got True; expected --format coco, the only one with this choice, not voc",
        ),
        ("--format coco --val-fraction 1", "bad value of --val-fraction; got 1.0; expected less than 1"),
        ("--format coco --val-fraction x", "bad value of --val-fraction; got x; expected a number"),
    ],
)
def test_what_cannot_be_asked_for(dataset, tmp_path, options, message):
    assert refuse("export", dataset, "--out", tmp_path / "out", *options.split()) == message
    assert not (tmp_path / "out").exists()


def test_no_dataset(tmp_path):
    message = refuse("export", tmp_path / "nothing", "--out", tmp_path / "out", "--format", "png")
    assert message == f"not a dataset; got {tmp_path / 'nothing'}; expected a folder with dataset.json"
    assert not (tmp_path / "out").exists()


def test_an_unfinished_dataset(tmp_path):
    store = make_store(tmp_path / "dataset", [HARD["comb"]] * 3, shard_size=1)
    store.shard_path(1).unlink()
    message = refuse("export", store.path, "--out", tmp_path / "out", "--format", "png")
    assert message.startswith("the dataset is not finished; got ")
    assert not (tmp_path / "out").exists()


def test_the_dataset_itself_is_no_place_for_its_export(dataset):
    before = times_of(dataset)
    assert f"{dataset} is not empty" in refuse("export", dataset, "--out", dataset, "--format", "png")
    assert times_of(dataset) == before


def test_two_exports_to_the_same_place(dataset, tmp_path):
    with folder_lock(tmp_path / "out"):
        message = refuse("export", dataset, "--out", tmp_path / "out", "--format", "png")
    assert message.startswith(f"{tmp_path / 'out'} is being written; got ")


def test_another_export_is_refused(dataset, tmp_path):
    words = ("export", dataset, "--out", tmp_path / "out", "--format")
    succeed(*words, "png")
    before = files_of(tmp_path / "out")
    assert "holds another export; got format: voc (here: png)" in refuse(*words, "voc")
    assert files_of(tmp_path / "out") == before
