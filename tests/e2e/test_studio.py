"""A person's way through the studio, in a real browser: look, filter, label anew, drop, correct, save, apply."""

import json
import re
import signal

import numpy as np
import pytest
from tests.helpers import factories
from tests.helpers.browser import accessibility_problems, needs_browser, open_browser
from tests.helpers.processes import Command, succeed

from dataset_diffusion.config import STORED_EXPONENTS, LabelSettings
from dataset_diffusion.dataset.provenance import Provenance
from dataset_diffusion.dataset.schema import decode_label
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.labelling.assign import label_map
from dataset_diffusion.labelling.quality import quality_scores
from dataset_diffusion.prompts.class_sets import ClassSet

pytestmark = [pytest.mark.slow, needs_browser]

HOSTILE = '<img src=x onerror="window.hacked=1">'
CLASSES = ClassSet.from_names(["cat", "dog", "<b onclick=alert(1)>bus"])
SIZE = (48, 64)
NUM_SAMPLES = 30
NEW = LabelSettings(exponent=1, threshold=0.57, uncertainty_threshold=0.41, refine="fast")
OWN = LabelSettings(exponent=8, threshold=0.8, uncertainty_threshold=0.8)

READ_LABEL = """async ({selector, palette}) => {
  const canvas = document.querySelector(selector);
  const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const ids = new Map(palette.map((colour, id) => [id ? colour.join() : "none", id]).reverse());
  const found = [];
  for (let at = 0; at < data.length; at += 4) {
    found.push(data[at + 3] ? ids.get([...data.slice(at, at + 3)].join()) : 0);
  }
  return [canvas.height, canvas.width, found];
}"""


def make_sample(index):
    classes = ((1, 2), (2,), (3, 1))[index % 3]
    words = tuple(CLASSES.names[number - 1] for number in classes)
    heatmaps = factories.make_heatmaps(index, len(classes), STORED_EXPONENTS, (6, 8))
    image = np.random.default_rng(index).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    label = label_map(heatmaps, classes, SIZE, LabelSettings())
    quality = quality_scores(label, classes, heatmaps)
    text = f"{HOSTILE} number {index}; {' '.join(words)}"
    return factories.make_sample(
        index, text=text, classes=classes, words=words, image=image, label=label, heatmaps=heatmaps, quality=quality
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studio") / "my data"
    provenance = Provenance(seed=0, label=LabelSettings())
    fields = {"num_samples": NUM_SAMPLES, "shard_size": 16, "provenance": provenance}
    return factories.write_dataset(folder, make_sample, CLASSES, **fields)


@pytest.fixture(scope="module")
def address(dataset):
    printed = dataset.path.parent / "printed"
    command = Command("studio", dataset.path, printed=printed)
    command.wait_until(lambda: printed.exists() and "http" in printed.read_text())
    yield re.search(r"http://127\.0\.0\.1:\d+/[\w-]+/", printed.read_text())[0]
    command.send(signal.SIGINT)
    command.wait()


@pytest.fixture(scope="module")
def browser():
    with open_browser() as opened:
        yield opened


@pytest.fixture
def page(browser, address):
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    opened = context.new_page()
    opened.asked, opened.failed = [], []
    opened.on("request", lambda request: opened.asked.append(request.url))
    opened.on("pageerror", lambda error: opened.failed.append(str(error)))
    opened.goto(address)
    opened.wait_for_selector("body[data-ready]")
    yield opened
    assert opened.failed == []
    assert [url for url in opened.asked if not url.startswith((address, "data:"))] == []
    context.close()


def labels_drawn(page, selector="#label"):
    *size, ids = page.evaluate(READ_LABEL, {"selector": selector, "palette": CLASSES.palette})
    return np.array(ids, np.uint8).reshape(size)


def move(page, name, value):
    """Move a slider, or choose, as a hand does: the page hears of it by an event."""
    page.evaluate(
        """([id, value]) => { const input = document.getElementById(id); input.value = value;
        input.dispatchEvent(new Event("input", {bubbles: true})); }""",
        [name, str(value)],
    )


def label_as(page, settings):
    move(page, "exponent", STORED_EXPONENTS.index(settings.exponent))
    move(page, "refine", settings.refine)
    move(page, "threshold", settings.threshold)
    move(page, "band", settings.uncertainty_threshold)


def wait_for_label(page, expected, selector="#label"):
    """Wait until every pixel on the canvas is as expected; else show where it is not."""
    for _ in range(100):
        if np.array_equal(labels_drawn(page, selector), expected):
            return
        page.wait_for_timeout(100)
    np.testing.assert_array_equal(labels_drawn(page, selector), expected)


def label_of(dataset, index, settings):
    sample = dataset[index]
    return label_map(sample.heatmaps, sample.prompt.classes, SIZE, settings, image=sample.image)


def test_names_and_captions_are_text_and_filters_choose(page, dataset):
    assert page.evaluate("window.hacked") is None
    assert HOSTILE in page.locator(".tile").first.get_attribute("aria-label")
    assert "30 of 30 pictures" in page.locator("#grid-about").inner_text()
    page.select_option("#class", label="<b onclick=alert(1)>bus")
    assert "10 of 30 pictures" in page.locator("#grid-about").inner_text()
    order = [int(caption.split(" ")[0]) for caption in page.locator(".tile span").all_inner_texts()]
    presences = [dataset[index].quality["presence.3"] for index in order]
    assert presences == sorted(presences)
    move(page, "search", "number 2;")
    assert "1 of 30 pictures" in page.locator("#grid-about").inner_text()
    assert page.evaluate("window.hacked") is None


def test_every_pixel_is_the_one_that_relabelling_gives(page, address, dataset):
    page.goto(f"{address}#sample=4")
    wait_for_label(page, dataset.label(4))
    for settings in (NEW, OWN, LabelSettings(exponent=0, threshold=0.33, uncertainty_threshold=0.1)):
        label_as(page, settings)
        wait_for_label(page, label_of(dataset, 4, settings))
    move(page, "refine", "pamr")
    refined = LabelSettings(exponent=0, threshold=0.33, uncertainty_threshold=0.1, refine="pamr")
    wait_for_label(page, label_of(dataset, 4, refined))
    page.click("#reset")
    wait_for_label(page, dataset.label(4))


def test_what_is_decided_is_saved_and_applied(page, address, dataset):
    decisions = dataset.path.with_name("my data.decisions")
    page.locator(".tile").nth(1).focus()
    page.keyboard.press("d")  # drops the second and moves on
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    page.locator("#detail-title", has_text="Picture 3").wait_for()
    label_as(page, NEW)
    wait_for_label(page, label_of(dataset, 3, NEW))
    page.check('input[name="scope"][value="one"]')
    label_as(page, OWN)
    wait_for_label(page, label_of(dataset, 3, OWN))
    page.wait_for_timeout(400)
    page.keyboard.press("Escape")
    wait_for_label(page, label_of(dataset, 0, NEW), ".tile canvas")

    page.goto(f"{address}#sample=5")
    wait_for_label(page, label_of(dataset, 5, NEW))
    page.click("#brush")
    page.select_option("#brush-class", label="dog")
    page.locator("#label").focus()
    page.keyboard.press("Space")
    page.locator("#label").click(position={"x": 10, "y": 10})
    drawn = labels_drawn(page)
    assert drawn[24, 32] == drawn[1, 1] == 2
    assert (drawn != label_of(dataset, 5, NEW)).any()
    page.keyboard.press("s")
    page.locator("#forget").wait_for()
    assert np.array_equal(decode_label((decisions / "00000005.png").read_bytes()), drawn)

    page.click("#open-steps")
    commands = page.locator("#commands").inner_text()
    assert [line.split()[1] for line in commands.splitlines()] == ["relabel", "import-labels", "filter"]
    page.click("#close-steps")
    saved = json.loads((decisions / "decisions.json").read_text())
    assert saved["label"] == NEW.model_dump()
    assert saved["samples"] == {
        "00000001": {"keep": False, "corrected": False},
        "00000002": {"keep": True, "corrected": False},
        "00000003": {"label": OWN.model_dump(), "corrected": False},
        "00000005": {"corrected": True},
    }

    relabelled, kept = dataset.path.with_name("relabelled"), dataset.path.with_name("kept")
    succeed("relabel", dataset.path, "--decisions", decisions, "--out", relabelled, "--num-workers", 1)
    store = DatasetStore.open(relabelled)
    for index in range(NUM_SAMPLES):
        expected = label_of(dataset, index, OWN if index == 3 else NEW)
        np.testing.assert_array_equal(store.label(index), expected)
    succeed("filter", relabelled, "--decisions", decisions, "--out", kept)
    assert [sample.seed for sample in DatasetStore.open(kept)] == [0, *range(2, NUM_SAMPLES)]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_everybody_can_use_it(browser, address, scheme, width):
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    for view in ("", "#sample=7"):
        page.goto(address + view)
        page.wait_for_selector("body[data-ready]")
        if view:
            page.click("#brush")
        assert accessibility_problems(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.click("#open-steps")
    assert accessibility_problems(page) == []
    context.close()
