import sys

import pytest
from tests.helpers.own_segmenter import Own

from dataset_diffusion.config import TrainSettings, make_settings
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.segmentation.own_network import OwnNetworkError, import_network, is_import_path

HERE = "tests.helpers.own_segmenter"


def test_it_is_made_with_the_number_of_labels():
    assert is_import_path(f"{HERE}:Own")
    network = import_network(f"{HERE}:Own", 5)
    assert isinstance(network, Own)
    assert network.last.out_channels == 5


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("no_such_module:make", r"module is not here; got no_such_module:make; .*fix: PYTHONPATH=FOLDER before"),
        (f"{HERE}.inner:make", r"module is not here"),
        (f"{HERE}:make", r"cannot import .*AttributeError: .* expected module:function, as in my_module:make"),
        (f"{HERE}:", "cannot import .*module:function"),
        (f"{HERE}:NOT_CALLABLE", "cannot be called; got an object of int"),
        (f"{HERE}:fails", r"fails; got ValueError: 4 are; expected a torch.nn.Module from "),
        ("os:abort", "a segmenter is no part of Python; got os:abort; expected module:function of your own"),
        (f"{HERE}:no_network", "makes no network; got an object of list; expected a torch.nn.Module"),
    ],
)
def test_what_is_wrong_with_it_is_told_in_one_line(path, told):
    with pytest.raises(OwnNetworkError, match=told) as error:
        import_network(path, 4)
    assert "\n" not in str(error.value)


def test_what_its_module_lacks_is_named(tmp_path, monkeypatch):
    (tmp_path / "asks_for_more.py").write_text("import no_such_library")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(OwnNetworkError, match=r"cannot import asks_for_more:make; .*no_such_library"):
        import_network("asks_for_more:make", 4)
    assert "asks_for_more" not in sys.modules


def test_a_function_is_recorded_by_where_it_can_be_imported_from():
    assert TrainSettings(segmenter=Own).segmenter == f"{HERE}:Own"
    for function in (lambda num_labels: Own(num_labels + 1), Own(3)):
        with pytest.raises(ConfigError, match=r"bad value of --segmenter.*a function or class of a module that can be"):
            make_settings(TrainSettings, segmenter=function)
