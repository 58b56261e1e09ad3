import base64
import io
import re
import xml.etree.ElementTree as ET
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image

from dataset_diffusion.report import charts
from dataset_diffusion.report.charts import confusion_chart, training_chart

TEXT = "{http://www.w3.org/2000/svg}text"


def texts(svg):
    return [element.text for element in ET.fromstring(svg).iter(TEXT)]


def test_confusion_chart_shows_the_shares_of_each_row():
    svg = confusion_chart(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]), ["background", "cat", "dog"])
    shown = texts(svg)
    assert [text for text in shown if text.isdigit()] == ["75", "25", "100"]
    assert shown.count("cat") == shown.count("dog") == 2


@pytest.mark.slow
def test_a_large_confusion_chart_has_names_but_no_figures():
    svg = confusion_chart(np.eye(81, dtype=np.int64), [f"class {number}" for number in range(81)])
    assert "class 80" in texts(svg)
    assert "100" not in texts(svg)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["$\\bad$", "<b>bold</b> & co", "フォークリフト", '"quoted"', "a#0f766e"])
def test_class_names_are_shown_as_they_are(name):
    assert name.replace("#0f766e", "") in "".join(
        texts(confusion_chart(np.eye(2, dtype=np.int64), ["background", name]))
    )


@pytest.mark.parametrize("count", [1, 2, 30, 5000])
def test_training_chart_draws_any_number_of_steps_with_few_points(count):
    steps = list(range(1, count + 1))
    svg = training_chart(steps, [1 / step for step in steps])
    assert {"step", "loss"} <= set(texts(svg))
    assert len(svg) < 80_000


def test_charts_are_the_same_every_time():
    assert training_chart([1, 2, 3], [3.0, 2.0, 1.0]) == training_chart([1, 2, 3], [3.0, 2.0, 1.0])


def test_charts_take_their_colors_from_the_page():
    svg = confusion_chart(np.eye(2, dtype=np.int64), ["background", "cat"]) + training_chart([1, 2], [2.0, 1.0])
    colors = set(re.findall(r"var\((--\w+), (#\w+)\)", svg))
    light = files("dataset_diffusion.report").joinpath("templates/page.css").read_text().split("@media")[0]
    assert {name for name, _ in colors} == {"--ink", "--muted", "--line", "--accent"}
    assert colors <= set(re.findall(r"(--\w+): (#\w+);", light))
    assert not re.findall(r"(?:fill|stroke): #", svg)


def test_figures_in_cells_can_be_read_on_light_and_dark_paper():
    css = files("dataset_diffusion.report").joinpath("templates/page.css").read_text()
    fill = rgb(charts.ACCENT)
    strongest = opacity_of_a_full_cell()
    for theme in css.split("@media")[:2]:
        paper, ink = (rgb(re.search(rf"--{name}: (#\w+);", theme)[1]) for name in ("paper", "ink"))
        for share in np.linspace(0, strongest, 16):
            assert contrast(ink, share * fill + (1 - share) * paper) >= 4.5


def opacity_of_a_full_cell():
    """As it is drawn: the picture of the cells in a chart whose every pixel is right."""
    svg = confusion_chart(np.eye(2, dtype=np.int64), ["background", "cat"])
    (data,) = re.findall(r'href="data:image/png;base64,([^"]+)"', svg)
    picture = np.array(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))
    opacity = picture[..., 3].max() / 255
    assert 0.5 < opacity < 1
    return opacity


def rgb(color):
    return np.array([int(color[place : place + 2], 16) for place in (1, 3, 5)]) / 255


def contrast(one, other):
    """WCAG 2 contrast ratio."""
    linear = [np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4) for color in (one, other)]
    dark, light = sorted(float(color @ [0.2126, 0.7152, 0.0722]) for color in linear)
    return (light + 0.05) / (dark + 0.05)
