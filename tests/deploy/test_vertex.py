"""The spec of Vertex AI fits the schema of its API."""

import copy
import importlib.resources
import json

import jsonschema
import pytest

from tests.support import launchers

NAME = "GoogleCloudAiplatformV1CustomJobSpec"


def as_json_schema(value):
    """The schema of a discovery document in JSON Schema, without unknown fields.

    Discovery documents name other schemas without a path, and have 64-bit integers as
    text, for which JSON also allows a number.
    """
    if isinstance(value, list):
        return [as_json_schema(item) for item in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("$ref"), str):
        return {"$ref": f"#/$defs/{value['$ref']}"}
    if value.get("format") in ("int64", "uint64"):
        return {"type": ["string", "integer"], "pattern": "^[0-9]+$"}
    kept = ("type", "enum", "items", "properties", "additionalProperties")
    found = {key: value[key] for key in kept if value.get(key, "any") != "any"}
    if "properties" in found:
        fields = found["properties"].items()
        found["properties"] = {name: as_json_schema(field) for name, field in fields}
        found.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if key in found:
            found[key] = as_json_schema(found[key])
    return found


@pytest.fixture(scope="module")
def validator():
    package = importlib.resources.files("googleapiclient")
    document = package / "discovery_cache/documents/aiplatform.v1.json"
    schemas = json.loads(document.read_text())["schemas"]
    schema = {
        "$ref": f"#/$defs/{NAME}",
        "$defs": {name: as_json_schema(schema) for name, schema in schemas.items()},
    }
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture
def spec():
    (found,) = launchers.documents("vertex/custom_job.yaml")
    return copy.deepcopy(found)


def test_the_spec_fits_the_schema(validator, spec):
    validator.validate(spec)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ((), {"workerPools": []}, "unexpected"),
        (("scheduling",), {"timeout": 5}, "not of type 'string'"),
        (("scheduling",), {"strategy": "CHEAP"}, "not one of"),
        (("workerPoolSpecs", 0), {"replicas": 1}, "unexpected"),
        (("workerPoolSpecs", 0), {"replicaCount": "one"}, "does not match"),
        (("workerPoolSpecs", 1), {"nfsMounts": {}}, "not of type 'array'"),
        (("workerPoolSpecs", 0, "machineSpec"), {"acceleratorType": "A100"}, "one of"),
        (("workerPoolSpecs", 0, "containerSpec"), {"args": [1]}, "type 'string'"),
    ],
)
def test_a_mistake_in_the_spec_is_found(validator, spec, path, value, message):
    place = spec
    for name in path:
        place = place[name]
    place.update(value)
    with pytest.raises(jsonschema.ValidationError, match=message):
        validator.validate(spec)


def test_all_machines_run_the_same_command_on_a_shared_folder(spec):
    chief, workers = spec["workerPoolSpecs"]
    assert chief["replicaCount"] == 1  # what Vertex AI demands of the first pool
    assert chief["containerSpec"] == workers["containerSpec"]
    assert chief["machineSpec"] == workers["machineSpec"]
    for pool in (chief, workers):
        folder = f"/mnt/nfs/{pool['nfsMounts'][0]['mountPoint']}/"
        arguments = pool["containerSpec"]["args"]
        places = [word for word in arguments if "_dir=" in word]
        assert len(places) == 2
        assert all(place.partition("=")[2].startswith(folder) for place in places)
        assert "--strategy=multi_worker" in arguments
    assert spec["scheduling"]["restartJobOnWorkerRestart"] is True
