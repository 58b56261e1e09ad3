from typing import get_args

from dataset_diffusion.config import ExportFormat
from dataset_diffusion.dataset.exports.table import CARD_HEADERS, EXPORTS


def test_the_formats_of_the_settings_are_those_of_the_table():
    assert set(EXPORTS) == set(get_args(ExportFormat))
    assert CARD_HEADERS.keys() <= EXPORTS.keys()
