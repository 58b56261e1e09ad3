import pytest
from tests.helpers import factories
from tests.helpers.factories import FORKLIFTS, make_heatmaps


@pytest.fixture
def classes():
    return FORKLIFTS


@pytest.fixture
def make_sample():
    """A function that makes the sample of an index: two classes, 6 x 9 pixels, heatmaps of 2 exponents unless told."""

    def make(index, with_heatmaps=True):
        return factories.make_sample(
            index,
            seed=2**63 - 1 - index,
            classes=(2, 1),
            words=("hand truck", "forklift"),
            heatmaps=make_heatmaps(index, num_classes=2) if with_heatmaps else None,
            quality={"uncertain": 0.25, "presence": 1 / 3},
        )

    return make
