import pytest

from dataset_diffusion.config import (
    EvaluateSettings,
    make_settings,
)
from dataset_diffusion.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 100}, "got 100; expected at most the --sliding-window, which is not given"),
        ({"stride": 65, "sliding_window": 64}, "got 65; expected at most the --sliding-window, 64"),
    ],
)
def test_windows_that_leave_gaps(options, message):
    with pytest.raises(ConfigError) as error:
        make_settings(EvaluateSettings, **options)
    assert str(error.value) == f"bad value of --stride; {message}"
