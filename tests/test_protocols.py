"""Every record of ``simclr_tf2.protocols`` against the program that reads it."""

import dataclasses
import inspect

import pytest

from simclr_tf2 import config, protocols
from simclr_tf2.evaluation import subject
from simclr_tf2.results import document
from tests.evaluation.clusters import clusters

PROTOCOLS = protocols.PROTOCOLS
SETTINGS = {field.name for field in dataclasses.fields(config.EvaluationConfig)}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_functions_that_a_record_names_exist(name):
    record = PROTOCOLS[name]
    for function in (record.measure, record.table, record.scalars, record.report):
        if function:
            found = protocols.load(function)
            assert found.__doc__ and found.__module__ == function.partition(":")[0]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_record_is_complete(name):
    record = PROTOCOLS[name]
    assert record.title and record.help and not record.help.endswith(".")
    assert record.labels and record.labels <= protocols.ANY_LABELS
    assert {*record.settings.values()} <= SETTINGS
    assert not record.features or record.features in SETTINGS
    if not record.rows:  # then nothing else shows its numbers
        assert record.table and record.scalars and record.report
        assert record.reads == "network"


@pytest.mark.parametrize("name", protocols.on_network(PROTOCOLS))
def test_a_protocol_of_the_network_measures_a_subject(name):
    measure = protocols.load(PROTOCOLS[name].measure)
    hints = inspect.get_annotations(measure)
    assert hints == {"subject": subject.Subject.__name__, "return": "Measured"}


@pytest.mark.parametrize("name", protocols.on_features(PROTOCOLS))
def test_a_protocol_on_features_takes_its_settings_and_makes_a_record(name):
    record, defaults = PROTOCOLS[name], config.EvaluationConfig()
    settings = {key: getattr(defaults, value) for key, value in record.settings.items()}
    train, test = clusters(90, seed=1), clusters(30, seed=2)
    found = protocols.load(record.measure)(train, test, seed=0, **settings)
    assert {"classes", "seed", "seconds"} <= set(found)
    assert 0 <= found.get("value", found.get("top1")) <= 1
    assert "top1" in found or "measure" in found


def test_protocols_that_take_no_labels_are_measured_on_the_network():
    """Features are only made where there are labels."""
    without = protocols.that_take("none")
    assert without == protocols.on_network(without) == ("label_free", "transfer")


def test_what_ranks_a_checkpoint_is_named_once():
    names = [n for record in PROTOCOLS.values() for n in record.ranks]
    extra = [protocols.OWN_CLASSIFIER, protocols.VALID_LOSS]
    assert [*names, *extra] == list(config.BEST_METRICS)
    assert len({*names, *extra}) == len(names) + 2
    assert protocols.ranking()["rankme"] == "label_free"


def test_records_of_one_protocol_are_those_whose_keys_begin_with_its_name():
    found = {
        "label_free": {"h_std": 1.0},
        "transfer": {"a": {}},
        "transfer_finetune": {"a": {}},
        "semi": {"1 %": {}},
        "seed": 0,
        "results": {},
    }
    kept = {key: value for key, value in found.items() if isinstance(value, dict)}
    del kept["results"]
    assert document.other_protocols(found) == kept
    transfer = protocols.records_of("transfer", found)
    assert list(transfer) == ["transfer", "transfer_finetune"]
    assert protocols.records_of("logreg", {"logreg": 1}) == {}


def test_a_name_that_is_no_protocol_is_its_own_title():
    assert protocols.title("svm") == "SVM"
    assert protocols.title("supervised") == "classifier"
    assert protocols.title("other") == "other"
