import pytest
from tests.helpers.tiny_models import thin_pipeline

from dataset_diffusion.diffusion.families.table import family_of
from dataset_diffusion.errors import ModelError

pytestmark = pytest.mark.slow


def test_a_pipeline_without_a_transformer_is_of_no_family():
    with pytest.raises(ModelError, match="got a StableDiffusionPipeline; expected a UNet, or one of"):
        family_of(thin_pipeline("sd21-base"))
