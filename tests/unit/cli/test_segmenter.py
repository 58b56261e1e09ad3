import pytest
from tests.helpers.processes import help_entries

from dataset_diffusion.config import (
    CalibrateSettings,
    EvaluateSettings,
    ExportModelSettings,
    PredictSettings,
    TrainSettings,
)


@pytest.mark.parametrize(
    ("command", "kind", "prefix"),
    [
        ("train", TrainSettings, ""),
        ("evaluate", EvaluateSettings, ""),
        ("predict", PredictSettings, ""),
        ("export-model", ExportModelSettings, ""),
        ("calibrate", CalibrateSettings, ""),
    ],
)
def test_every_setting_is_an_option(command, kind, prefix, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    options = {f"--{prefix}{name.replace('_', '-')}" for name in kind.model_fields if name != "capture"}
    assert options <= help_entries(command).keys()
