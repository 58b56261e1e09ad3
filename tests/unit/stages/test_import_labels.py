import json

import numpy as np
import pytest
from PIL import Image
from tests.helpers.exporting import write_export
from tests.helpers.factories import make_heatmaps, make_sample, write_dataset
from tests.helpers.label_maps import CLASSES, HARD, make_store
from tests.helpers.processes import files_of, refuse, succeed

from dataset_diffusion.config import ExportSettings
from dataset_diffusion.dataset.corrections import corrected_samples
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.segmentation.data import SegmentationData
from dataset_diffusion.stages.import_labels import import_labels

LABELS = list(HARD.values())


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("importing") / "dataset", LABELS)


def as_annotated(out):
    """The tasks of Label Studio as it exports them when each prediction was accepted."""
    tasks = json.loads((out / "tasks.json").read_text())
    annotated = [{"data": one["data"], "annotations": one["predictions"]} for one in tasks]
    (out / "exported.json").write_text(json.dumps(annotated))


@pytest.mark.parametrize(
    ("format", "source"), [("cvat", "annotations.xml"), ("label-studio", "exported.json"), ("png", "labels")]
)
def test_what_a_tool_gives_back_is_what_it_got(store, tmp_path, format, source):
    """Exported from a dataset of other labels, everything comes back as a correction, pixel for pixel."""
    other = make_store(tmp_path / "other", [np.where(label == 1, 2, 1).astype(np.uint8) for label in LABELS])
    write_export(store.path, tmp_path / "out", ExportSettings(format=format))
    if format == "label-studio":
        as_annotated(tmp_path / "out")
    fixed = import_labels(other.path, tmp_path / "out" / source, tmp_path / "fixed")
    for index, label in enumerate(LABELS):
        if label.any() or format != "label-studio":  # without a stroke there, nobody is taken to have looked
            np.testing.assert_array_equal(fixed.label(index), label)
        np.testing.assert_array_equal(fixed.image(index), other.image(index))
    assert fixed.verify() == []


@pytest.fixture
def corrected(store, tmp_path):
    """A folder with one label map as it was and one that was corrected, in the class set's colours."""
    folder = tmp_path / "corrected"
    folder.mkdir()
    Image.fromarray(LABELS[2]).save(folder / "00000002.png")
    colours = np.array(CLASSES.palette, np.uint8)[np.full_like(LABELS[6], 3)]
    Image.fromarray(colours).save(folder / "00000006.png")
    return folder


def test_a_correction_replaces_a_label_map_and_is_told_everywhere(store, corrected, tmp_path):
    words = ("import-labels", store.path, corrected, "--out", tmp_path / "fixed")
    printed = succeed(*words)
    assert printed == f"1 of {len(LABELS)} label maps corrected, in {tmp_path / 'fixed'}\n"
    files = files_of(tmp_path / "fixed")
    assert succeed(*words) == printed
    assert files_of(tmp_path / "fixed") == files
    fixed = DatasetStore.open(tmp_path / "fixed")
    assert (fixed.label(6) == 3).all()
    assert fixed.manifest.provenance.corrections[0].samples == (6,)
    assert corrected_samples(fixed) == {6}
    assert fixed[6].quality["corrected"] == 1
    assert fixed[6].quality["foreground"] == 1
    assert succeed("verify", fixed.path).endswith("all whole, 1 of them corrected by hand\n")
    succeed("report", fixed.path)
    page = (fixed.path / "report.html").read_text(encoding="utf-8")
    assert "1 of the label maps were corrected by hand" in page


def test_training_sees_a_corrected_image_as_often_as_asked(store, corrected, tmp_path):
    fixed = import_labels(store.path, corrected, tmp_path / "fixed")
    assert len(SegmentationData(fixed)) == len(LABELS)
    weighed = SegmentationData(fixed, corrected_weight=4)
    assert len(weighed) == len(LABELS) + 3
    assert all((weighed[index][1] == 3).all() for index in range(len(LABELS), len(LABELS) + 3))


def test_corrections_survive_a_filter(corrected, tmp_path):
    samples = [make_sample(index, label=label, quality={"foreground": 0.0}) for index, label in enumerate(LABELS)]
    store = write_dataset(tmp_path / "dataset", samples, CLASSES)
    import_labels(store.path, corrected, tmp_path / "fixed")
    succeed("filter", tmp_path / "fixed", "--rule", "foreground >= 1", "--out", tmp_path / "kept")
    kept = DatasetStore.open(tmp_path / "kept")
    assert corrected_samples(kept) == {0}
    assert (kept.label(0) == 3).all()


def test_relabelling_in_place_does_not_undo_corrections(tmp_path):
    heatmaps = make_heatmaps(0, 1, (0, 1, 2, 4, 8))
    store = write_dataset(tmp_path / "dataset", [make_sample(0, heatmaps=heatmaps)])
    (tmp_path / "corrected").mkdir()
    Image.fromarray(np.ones_like(store.label(0))).save(tmp_path / "corrected" / "00000000.png")
    import_labels(store.path, tmp_path / "corrected", tmp_path / "fixed")
    message = refuse("relabel", tmp_path / "fixed")
    assert message.startswith("relabelling in place would undo what was corrected by hand")
    succeed("relabel", tmp_path / "fixed", "--out", tmp_path / "anew")
    assert DatasetStore.open(tmp_path / "anew").manifest.provenance.corrections == ()


@pytest.mark.parametrize(
    ("name", "picture", "message"),
    [
        ("other.png", np.zeros((3, 4), np.uint8), "no label map was corrected; got none in"),
        ("00000099.png", np.zeros((3, 4), np.uint8), "a label map of no sample; got 99; expected 0 to 22"),
        ("00000000.png", np.zeros((9, 4), np.uint8), "sample 0 has another size; got 9 x 4; expected 3 x 4"),
        (
            "00000000.png",
            np.full((3, 4), 77, np.uint8),
            "sample 0 cannot be used; got label ids outside the class set: 77",
        ),
        ("00000000.png", np.full((3, 4, 3), 77, np.uint8), "a colour of no class; got (77, 77, 77)"),
    ],
)
def test_what_does_not_fit_is_refused(store, tmp_path, name, picture, message):
    (tmp_path / "corrected").mkdir()
    Image.fromarray(picture).save(tmp_path / "corrected" / name)
    told = refuse("import-labels", store.path, tmp_path / "corrected", "--out", tmp_path / "out")
    assert message.replace("22", str(len(LABELS) - 1)) in told
    assert not (tmp_path / "out").exists()
