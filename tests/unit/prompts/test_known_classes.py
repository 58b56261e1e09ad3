import json

import pytest

from dataset_diffusion.errors import DatasetError, PromptError, Skipped
from dataset_diffusion.prompts.captions import Caption
from dataset_diffusion.prompts.class_sets import ClassSet, class_set
from dataset_diffusion.prompts.known_classes import annotated_classes, find_instances, published_classes

OWN = ClassSet.from_names(["cat", "dog", "bus"])
CAPTIONS = [Caption("a dog", 1), Caption("a street", 2), Caption("a cat", 3)]


@pytest.fixture
def instances(tmp_path):
    """Image 1 with two dogs, a cat and a teddy bear, image 2 with a bus, image 3 with nothing."""
    names = ["teddy bear", "bus", "cat", "dog"]
    objects = [(1, 3), (1, 3), (1, 2), (1, 0), (2, 1)]
    values = {
        "images": [{"id": image} for image in (1, 2, 3)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
        "annotations": [{"id": n, "image_id": image, "category_id": kind} for n, (image, kind) in enumerate(objects)],
    }
    (tmp_path / "instances_train2017.json").write_text(json.dumps(values))
    return tmp_path / "instances_train2017.json"


def test_all_annotated_classes_of_the_set_are_known(instances):
    assert annotated_classes(CAPTIONS, OWN, instances) == [(1, 2), (3,), ()]
    coco = class_set("coco")
    named = [[coco.name_of(one) for one in ids] for ids in annotated_classes(CAPTIONS, coco, instances)]
    assert named == [["cat", "dog", "teddy bear"], ["bus"], []]


def test_categories_are_classes_by_a_synonym_too(instances):
    instances.write_text(instances.read_text().replace("teddy bear", "airplane"))
    (first, *_) = annotated_classes(CAPTIONS, class_set("voc"), instances)
    assert [class_set("voc").name_of(one) for one in first] == ["aeroplane", "cat", "dog"]


def test_files_that_do_not_belong_together_are_refused(instances):
    with pytest.raises(
        PromptError, match=r"does not list; got 1 of 2, the first of image '1'; expected COCO's captions"
    ):
        annotated_classes([Caption("a dog", "1"), Caption("a cat", 1)], OWN, instances)
    with pytest.raises(PromptError, match=r"no category of .* is a class of 'custom'; got teddy bear"):
        annotated_classes(CAPTIONS, ClassSet.from_names(["forklift"]), instances)
    with pytest.raises(DatasetError, match=r"cannot read .*none\.json"):
        annotated_classes(CAPTIONS, OWN, instances.with_name("none.json"))


def test_instances_are_looked_for_beside_captions_of_coco_alone(instances):
    captions, coco = instances.with_name("captions_train2017.json"), class_set("coco")
    assert find_instances(captions, CAPTIONS, coco) == instances
    assert find_instances(captions, CAPTIONS, OWN) is None
    assert find_instances(captions, [*CAPTIONS, Caption("a cat", 4)], coco) is None
    assert find_instances(instances.with_name("captions_val2017.json"), CAPTIONS, coco) is None
    assert find_instances(instances, CAPTIONS, coco) is None


def test_published_class_prompts_are_kept():
    captions = [Caption("a pet", None, "dog cat"), Caption("a dog"), Caption("a cat", None, " ")]
    assert published_classes(captions, OWN) == [(2, 1), None, ()]


def test_a_class_prompt_of_other_classes_is_refused_or_left_out():
    captions, skipped = [Caption("a dog", None, "dog"), Caption("a sofa", None, "sofa")], Skipped()
    with pytest.raises(PromptError) as error:
        published_classes(captions, OWN)
    assert str(error.value).startswith(
        "a class prompt that is not made of the classes of 'custom'; got 'sofa' of caption 2; fix: give --classes"
    )
    assert published_classes(captions, OWN, skipped) == [(2,), ()]
    assert skipped.reasons == {"caption 2": str(error.value)}
