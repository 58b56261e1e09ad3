import numpy as np
import pytest
import torch
from tests.helpers.tiny_sam import write_sam

from dataset_diffusion.config import LabelOptions, LabelSettings
from dataset_diffusion.errors import ModelError
from dataset_diffusion.labelling.assign import label_map
from dataset_diffusion.labelling.segments import WEIGHTS, find_segments, refine_by_segments
from dataset_diffusion.records import Heatmaps

pytestmark = pytest.mark.slow

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
MAPS = torch.rand((2, 6, 8), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=WEIGHTS)
def sam(request, tmp_path_factory):
    return request.param, str(write_sam(request.param, tmp_path_factory.mktemp(request.param)))


def test_a_pixel_takes_the_mean_of_the_smallest_segment_that_holds_it(sam):
    kind, weights = sam
    plain = torch.nn.functional.interpolate(MAPS[None], (48, 64), mode="bicubic")[0]
    refined = refine_by_segments(MAPS, IMAGE, kind, weights, points=3)
    segments = list(find_segments(IMAGE, kind, weights, points=3))
    assert segments
    sizes = torch.stack([torch.where(segment, int(segment.sum()), IMAGE.size) for segment in segments])
    smallest = sizes.argmin(dim=0)
    for number, segment in enumerate(segments):
        own = segment & (smallest == number)
        mean = plain[:, segment].mean(dim=-1, keepdim=True)
        assert torch.allclose(refined[:, own], mean.expand(-1, int(own.sum())), atol=1e-5)
    outside = ~torch.stack(segments).any(dim=0)
    assert outside.any()
    assert torch.allclose(refined[:, outside], plain[:, outside], atol=1e-5)


def test_weights_of_the_other_kind_are_refused(sam):
    kind, weights = sam
    other = "sam3" if kind == "sam2" else "sam2"
    with pytest.raises(ModelError, match=f"^not weights of {other}; got {weights}, a {kind}"):
        refine_by_segments(MAPS, IMAGE, other, weights)


def test_a_label_map_is_refined_by_the_weights_of_its_settings(tmp_path):
    heatmaps = Heatmaps((0,), MAPS[None].half().numpy(), np.float32([[[0, 1], [0, 1]]]))
    settings = LabelSettings(exponent=0, refine="sam2", segments=str(tmp_path))
    with pytest.raises(ModelError, match=f"^the folder holds no segment-anything model; got {tmp_path}: "):
        label_map(heatmaps, (1, 2), (48, 64), settings, image=IMAGE)


@pytest.mark.parametrize("settings", [LabelSettings, LabelOptions])
def test_weights_without_their_refinement_are_refused(settings):
    with pytest.raises(ValueError, match="left out unless refine is sam2 or sam3"):
        settings(refine="pamr", segments="folder")
    assert "segments" not in settings(refine="pamr").model_dump()
