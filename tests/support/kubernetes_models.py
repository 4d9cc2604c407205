"""Manifests as objects of the API's own Python models, without unknown fields.

The models of ``kubernetes`` and ``kubeflow-training`` are generated from the OpenAPI
documents of the projects. Each model lists its fields with their types, and its
constructor refuses an object without a required field.
"""

import re

import kubernetes.client
from kubeflow.training import models

PRIMITIVES = {"str": str, "int": int, "bool": bool, "float": (int, float)}
KINDS = {
    ("v1", "PersistentVolumeClaim"): "V1PersistentVolumeClaim",
    ("v1", "Service"): "V1Service",
    ("batch/v1", "Job"): "V1Job",
    ("kubeflow.org/v1", "TFJob"): "KubeflowOrgV1TFJob",
}


def build(manifest):
    """Build the object of a manifest.

    Raises:
        KeyError: An unknown kind.
        ValueError: An unknown or missing field, or a value of another type; the message
            gives its path.
    """
    kind = KINDS[manifest["apiVersion"], manifest["kind"]]
    return _build(kind, manifest, manifest["kind"])


def _build(kind, value, path):
    if kind == "object":  # a number or a name of a port, say
        return value
    if kind in PRIMITIVES:
        is_flag = isinstance(value, bool) and kind != "bool"
        if not isinstance(value, PRIMITIVES[kind]) or is_flag:
            raise ValueError(f"{path} must be {kind}. Received: {value!r}")
        return value
    if match := re.fullmatch(r"list\[(.*)\]", kind):
        _expect(list, value, path)
        return [_build(match[1], item, f"{path}[{i}]") for i, item in enumerate(value)]
    if match := re.fullmatch(r"dict\(str, (.*)\)", kind):
        _expect(dict, value, path)
        return {key: _build(match[1], v, f"{path}.{key}") for key, v in value.items()}
    return _model(kind, value, path)


def _model(kind, value, path):
    model = getattr(models, kind, None) or getattr(kubernetes.client, kind)
    _expect(dict, value, path)
    attributes = {key: name for name, key in model.attribute_map.items()}
    if unknown := sorted(set(value) - set(attributes)):
        raise ValueError(f"{path} has no field {', '.join(unknown)}")
    built = {
        attributes[key]: _build(
            model.openapi_types[attributes[key]], v, f"{path}.{key}"
        )
        for key, v in value.items()
    }
    try:
        return model(**built)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _expect(kind, value, path):
    if not isinstance(value, kind):
        raise ValueError(f"{path} must be a {kind.__name__}. Received: {value!r}")
