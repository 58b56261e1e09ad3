import random
from collections import Counter
from itertools import combinations

import pytest

from dataset_diffusion.prompts.balance import Balance, Emphasis
from dataset_diffusion.prompts.class_sets import ClassSet

CLASSES = ClassSet.from_names([f"thing {number}" for number in range(8)])


def draw(num=800, **options):
    balance = Balance(CLASSES, random.Random(1), **options)
    return [balance.draw() for _ in range(num)]


def pairs(drawn):
    return Counter(pair for ids in drawn for pair in combinations(sorted(ids), 2))


def test_classes_are_named_equally_often_and_each_once():
    drawn = draw()
    counts = Counter(class_id for ids in drawn for class_id in ids)
    assert all(len(set(ids)) == len(ids) <= 3 for ids in drawn)
    assert max(counts.values()) - min(counts.values()) <= 2


def test_weak_classes_come_as_often_as_they_are_to():
    counts = Counter(class_id for ids in draw(emphasis=Emphasis({3: 2.0, 5: 0.5})) for class_id in ids)
    usual = counts[1]
    assert counts[3] / usual == pytest.approx(2.0, abs=0.1)
    assert counts[5] / usual == pytest.approx(0.5, abs=0.1)


def test_weak_pairs_come_together_more_often():
    even, uneven = pairs(draw()), pairs(draw(emphasis=Emphasis(pairs={(2, 7): 3.0})))
    assert uneven[2, 7] > 1.5 * even[2, 7]
    assert uneven[2, 7] > 1.5 * max(count for pair, count in uneven.items() if pair != (2, 7))


def test_companions_come_together_more_often_and_the_classes_stay_balanced():
    drawn = draw(are_companions=lambda one, other: {one, other} <= {1, 2, 3})
    counts, together = Counter(class_id for ids in drawn for class_id in ids), pairs(drawn)
    assert together[1, 2] > 1.5 * together[4, 5]
    assert max(counts.values()) - min(counts.values()) <= 4


def test_a_single_class_is_named_alone():
    balance = Balance(ClassSet.from_names(["cat"]), random.Random(0))
    assert {balance.draw() for _ in range(20)} == {(1,)}
