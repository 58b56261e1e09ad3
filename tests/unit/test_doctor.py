from tests.helpers.processes import succeed

from dataset_diffusion.diffusion.specs import MODELS
from dataset_diffusion.evaluation.table import BENCHMARKS
from dataset_diffusion.segmentation.models import SEGMENTERS
from dataset_diffusion.version import __version__


def test_it_says_the_version_and_every_name_that_can_be_used():
    first, *lines = succeed("doctor").splitlines()
    assert first.startswith(f"dataset-diffusion {__version__}, Python 3.")
    named = {line.partition(": ")[0]: line.partition(": ")[2].split(", ") for line in lines}
    assert set(MODELS) <= set(named["models"])
    assert set(SEGMENTERS) == set(named["segmenters"])
    assert set(BENCHMARKS) <= set(named["benchmarks"])
