import pytest

from dataset_diffusion.dataset.filtering.quantities import QUANTITIES
from dataset_diffusion.dataset.filtering.rules import Rule, parse_rule
from dataset_diffusion.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("presence >= 0.4", Rule("presence", ">=", 0.4)),
        ("uncertain<.3", Rule("uncertain", "<", 0.3)),
        ("  components   <=  8 ", Rule("components", "<=", 8.0)),
        ("novelty > 0", Rule("novelty", ">", 0.0)),
        ("image_text>=0.25", Rule("image_text", ">=", 0.25)),
        ("image_text > -0.1", Rule("image_text", ">", -0.1)),
    ],
)
def test_rules_are_read(text, rule):
    assert parse_rule(text) == rule
    assert parse_rule(str(rule)) == rule


@pytest.mark.parametrize(
    "text",
    [
        "",
        "presence",
        "presence >= ",
        "presence = 0.4",
        "presence == 0.4",
        "presence >= --1",
        "presence >= nan",
        "presence >= 1e3",
        "0.4 <= presence",
        "presence >= 0.4 and area > 0",
        "__import__('os').remove('x') > 0",
        "presence >= 0.4\x00",
    ],
)
def test_what_is_no_rule_is_refused(text):
    with pytest.raises(ConfigError) as error:
        parse_rule(text)
    assert str(error.value).startswith("not a rule; got")
    assert str(error.value).endswith("expected a quantity, >=, <=, > or <, and a number: presence >= 0.4")


def test_a_quantity_that_is_not_known_is_refused():
    with pytest.raises(ConfigError) as error:
        parse_rule("beauty >= 0.5")
    assert str(error.value) == f"no such quantity in a rule; got beauty; expected one of {', '.join(QUANTITIES)}"


def test_a_number_beyond_all_bounds_is_refused():
    with pytest.raises(ConfigError, match=r"expected a finite number$"):
        parse_rule("area <= " + "9" * 400)


@pytest.mark.parametrize(
    ("comparison", "passing"), [(">=", [2.0, 3.0]), (">", [3.0]), ("<=", [1.0, 2.0]), ("<", [1.0])]
)
def test_comparisons_by_hand(comparison, passing):
    rule = Rule("area", comparison, 2.0)
    assert [value for value in (1.0, 2.0, 3.0) if rule.holds([value])] == passing


def test_a_rule_holds_for_every_class_or_not_at_all():
    assert Rule("area", ">=", 0.1).holds([0.1, 0.5])
    assert not Rule("area", ">=", 0.1).holds([0.5, 0.05])
    assert not Rule("area", "<=", 0.4).holds([0.1, 0.5])
    assert Rule("area", ">=", 0.1).holds([])
