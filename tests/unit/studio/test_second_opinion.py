import numpy as np
import pytest

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.segmentation.model_folder import TrainedSegmenter
from dataset_diffusion.segmentation.models import build_segmenter
from dataset_diffusion.segmentation.predict import predict
from dataset_diffusion.studio.second_opinion import SecondOpinion, disagreement

pytestmark = pytest.mark.slow


def untrained(class_set):
    model = build_segmenter("deeplabv3-resnet18", class_set.num_classes + 1, pretrained=False).eval()
    return TrainedSegmenter(model, class_set, TrainSettings())


def test_every_sample_is_compared(dataset):
    trained = untrained(dataset.class_set)
    opinion = SecondOpinion(dataset, trained)
    with opinion:
        opinion._thread.join(60)
    predictions = list(predict(trained.model, map(dataset.image, range(len(dataset)))))
    expected = [disagreement(dataset.label(index), one) for index, one in enumerate(predictions)]
    assert opinion.disagreement == pytest.approx(expected, abs=0.01)
    assert opinion.label(2, dataset.image(2)).shape == (12, 20)


def test_another_segmenter_is_refused(dataset):
    with pytest.raises(ConfigError, match="other classes than the dataset"):
        SecondOpinion(dataset, untrained(ClassSet.from_names(["cat", "dog"])))


def test_uncertain_pixels_do_not_count():
    label = np.array([[255, 255, 1, 0]], np.uint8)
    assert disagreement(label, np.array([[1, 0, 1, 1]], np.uint8)) == 0.5
    assert disagreement(label[:, :2], label[:, :2]) == 0
