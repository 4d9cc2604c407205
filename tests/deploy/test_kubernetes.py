"""Manifests fit the models of Kubernetes and Kubeflow, and the program's exit codes."""

import copy

import pytest

from simclr_tf2 import endings, errors, stopping
from tests.support import kubernetes_models, launchers

FILES = [name for name in launchers.MANIFESTS if name.startswith("kube")]
ONLY_JOB = "kubernetes/job.yaml"


def job():
    (found,) = [d for d in launchers.documents(ONLY_JOB) if d["kind"] == "Job"]
    return found


def service():
    (found,) = [d for d in launchers.documents(ONLY_JOB) if d["kind"] == "Service"]
    return found


def tfjob():
    (found,) = launchers.documents("kubeflow/tfjob.yaml")
    return found


def pods():
    """The pod template of the Job and that of the TFJob."""
    workers = tfjob()["spec"]["tfReplicaSpecs"]["Worker"]
    return [job()["spec"]["template"]["spec"], workers["template"]["spec"]]


def flags_of(pod):
    words = pod["containers"][0]["args"]
    return dict(word.removeprefix("--").split("=", 1) for word in words)


@pytest.mark.parametrize("name", FILES)
def test_a_manifest_fits_the_models(name):
    for manifest in launchers.documents(name):
        kubernetes_models.build(manifest)


def change(manifest, path, value):
    """A copy with the value at a path; None takes the field away."""
    changed = copy.deepcopy(manifest)
    *parents, last = path.split("/")
    place = changed
    for name in parents:
        place = place[int(name) if isinstance(place, list) else name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return changed


POD = "spec/template/spec"
WORKER = "spec/tfReplicaSpecs/Worker"


@pytest.mark.parametrize(
    ("make", "path", "value"),
    [
        (job, "spec/completion", 2),
        (job, "spec/completions", "2"),
        (job, "spec/template", None),
        (job, f"{POD}/containers", None),
        (job, f"{POD}/containers/0/arguments", []),
        (job, f"{POD}/containers/0/args", "--seed=1"),
        (job, f"{POD}/containers/0/name", None),
        (job, "spec/podFailurePolicy/rules/0/action", None),
        (job, "spec/podFailurePolicy/rules/0/onExitCodes/values", [True]),
        (tfjob, "spec/runPolicy", None),
        (tfjob, "spec/tfReplicaSpec", {}),
        (tfjob, f"{WORKER}/replicas", "2"),
        (tfjob, f"{WORKER}/restartPolicies", "Never"),
        (tfjob, f"{WORKER}/template/spec/containers", None),
    ],
)
def test_a_mistake_in_a_manifest_is_found(make, path, value):
    with pytest.raises(ValueError, match="must|no field"):
        kubernetes_models.build(change(make(), path, value))


def test_workers_of_the_job_find_each_other():
    """Kubernetes calls the pods JOB-NUMBER.SERVICE."""
    name, service_name = job()["metadata"]["name"], service()["metadata"]["name"]
    spec = job()["spec"]
    port = service()["spec"]["ports"][0]["port"]
    workers = flags_of(spec["template"]["spec"])["cluster"].split(",")
    assert workers == [
        f"{name}-{i}.{service_name}:{port}" for i in range(spec["completions"])
    ]
    assert spec["parallelism"] == spec["completions"]
    assert spec["template"]["spec"]["subdomain"] == service_name
    assert service()["spec"]["selector"] == {"job-name": name}
    assert service()["spec"]["clusterIP"] == "None"


def test_the_job_knows_the_exit_codes_of_the_program():
    rules = job()["spec"]["podFailurePolicy"]["rules"]
    codes = {
        rule["action"]: set(rule["onExitCodes"]["values"])
        for rule in rules
        if "onExitCodes" in rule
    }
    final = [errors.ConfigError("x"), errors.NotFinite("x")]
    assert codes["FailJob"] == {endings.line_and_code(error)[1] for error in final}
    assert codes["Ignore"] == {stopping.SAVED, 128 + stopping.signal.SIGTERM}
    lost = endings.line_and_code(errors.RunFailed("a worker was lost"))[1]
    assert not any(lost in values for values in codes.values())
    names = {rule["onExitCodes"]["containerName"] for rule in rules[:2]}
    assert names == {container["name"] for container in pods()[0]["containers"]}
    assert (
        job()["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    )  # rules need it


def test_the_tfjob_is_restarted_at_exit_codes_below_128():
    assert stopping.SAVED < 128  # ExitCode would take it for a final failure
    worker = tfjob()["spec"]["tfReplicaSpecs"]["Worker"]
    assert worker["restartPolicy"] == "OnFailure"
    assert tfjob()["spec"]["runPolicy"]["backoffLimit"] > worker["replicas"]


def test_the_tfjob_has_the_names_that_the_operator_looks_for():
    (container,) = pods()[1]["containers"]
    assert container["name"] == "tensorflow"
    assert container["ports"] == [{"name": "tfjob-port", "containerPort": 2222}]
    assert set(tfjob()["spec"]["tfReplicaSpecs"]) == {"Worker"}


@pytest.mark.parametrize("pod", pods(), ids=["Job", "TFJob"])
def test_the_run_folder_is_on_the_shared_volume(pod):
    (volume,) = launchers.documents("kubernetes/volume.yaml")
    claims = {
        v["name"]: v["persistentVolumeClaim"]["claimName"]
        for v in pod["volumes"]
        if "persistentVolumeClaim" in v
    }
    mounted = {
        m["mountPath"]: claims.get(m["name"])
        for m in pod["containers"][0]["volumeMounts"]
    }
    assert mounted["/shared"] == volume["metadata"]["name"]
    assert volume["spec"]["accessModes"] == ["ReadWriteMany"]
    for name in ("model_dir", "data_dir"):
        assert flags_of(pod)[name].startswith("/shared/")
    assert flags_of(pod)["strategy"] == "multi_worker"
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["terminationGracePeriodSeconds"] > 30
