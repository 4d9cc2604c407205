"""What a mistyped name or value was meant to be."""

import pytest

import flags
from simclr_tf2 import suggestions


@pytest.mark.parametrize(
    ("word", "choices", "expected"),
    [
        ("Pretrain", ("eval", "pretrain"), "pretrain"),
        ("nt-xent", ("margin", "nt_xent"), "nt_xent"),
        ("lasr", ("lars", "lamb"), "lars"),
        ("fp16", ("float16", "off"), "float16"),
        ("no", ("auto", "off"), "off"),
        ("none", ("auto", "bar"), None),
        ("fp16", ("lars", "off"), None),  # its meaning is none of the choices
        ("zzz", ("lars", "lamb"), None),
    ],
)
def test_the_choice_that_a_word_stands_for(word, choices, expected):
    assert suggestions.nearest(word, choices) == expected


@pytest.mark.parametrize(
    ("text", "numbers", "number"),
    [
        ("1e3", ["1000"], "1000"),
        ("64.5", ["64", "65"], "64.5"),
        ("4,096", ["4096"], "4096"),
        ("0,1", ["0", "1"], "0.1"),
        ("10%", ["0", "1"], "0.1"),
        ("nan", [], None),
        ("inf", [], None),
        ("many", [], None),
    ],
)
def test_the_numbers_that_a_text_stands_for(text, numbers, number):
    assert suggestions.whole_numbers(text) == numbers
    assert suggestions.number(text) == number


@pytest.mark.parametrize(
    ("text", "expected"),
    [("yes", "true"), ("OFF", "false"), ("flase", "false"), ("ture", "true")],
)
def test_the_truth_that_a_text_stands_for(text, expected):
    assert suggestions.truth(text) == expected
    assert suggestions.truth("perhaps") is None


def test_every_word_of_other_programs_leads_to_a_flag_or_a_choice():
    names = flags.flag_names()
    for word, name in suggestions.FLAG_SYNONYMS.items():
        assert name in names and word not in names
        assert suggestions.flags_like(word, names)[0] == name


def test_words_of_a_longer_name_come_before_a_name_spelled_alike():
    names = ("train_batch_size", "match_size")
    assert suggestions.flags_like("batch-size", names)[0] == "train_batch_size"
    assert suggestions.flags_like("Image-Size", ("image_size",)) == ["image_size"]
    assert suggestions.flags_like("unlike", names) == []
