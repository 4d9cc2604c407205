"""The script for TPU VMs: its commands, with a stand-in for gcloud."""

import json
import re
import shlex
import time

import pytest

from tests.command_line import ROOT
from tests.support import launchers, program_flags

SCRIPT = "gce/tpu_vm.sh"
ZONE = "--zone=us-central2-b"
TPU = ["compute", "tpus", "tpu-vm"]
# Writes its arguments down. HOST is the home folder of the first host: scp
# copies to it, and ssh runs the command in it.
GCLOUD = f"""{launchers.RECORD} >> "$CALLS"
cd "$HOST"
case $4 in
  scp) cp "$5" "${{6#*:}}" ;;
  ssh)
    for word in "$@"; do
      [[ $word != --command=* ]] ||
        PATH=$HOST/bin:$PATH exec bash -c "${{word#--command=}}"
    done
    ;;
esac
"""
PIP = f'{launchers.RECORD} >> "$PIP_CALLS"'
PROGRAM = """
trap 'echo stopped and saved; exit 42' TERM
printf '%s\\n' "${TPU_LOAD_LIBRARY-unset}" "$@" > arguments.partial
mv arguments.partial arguments
for ((i = 0; i < 600; i++)); do sleep 0.1; done
"""


@pytest.fixture(autouse=True)
def _flags_as_before():
    yield
    program_flags.forget()


@pytest.fixture
def host(tmp_path):
    folder = tmp_path / "host"
    launchers.stand_in(folder / ".local/bin", "simclr-tf2", PROGRAM)
    return folder


@pytest.fixture
def tpu_vm(tmp_path, host):
    """Run the script; return its result and the arguments of each call of gcloud."""
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    launchers.stand_in(programs, "gcloud", GCLOUD)

    def call(*arguments, **variables):
        calls.write_text("")
        done = launchers.start(
            SCRIPT,
            *arguments,
            programs=programs,
            folder=tmp_path,
            CALLS=str(calls),
            HOST=str(host),
            TMPDIR=str(tmp_path),
            **variables,
        )
        return done, [json.loads(line) for line in calls.read_text().splitlines()]

    return call


def test_create_asks_for_the_version_first(tpu_vm):
    done, calls = tpu_vm("--name=big", ZONE, "--type=v5p-8", "--spot", "create")
    assert done.returncode == 0, done.stderr
    create = ["create", "big", "--accelerator-type=v5p-8", "--version=v2-alpha-tpuv5"]
    assert calls == [
        [*TPU, "versions", "describe", "v2-alpha-tpuv5", ZONE],
        [*TPU, *create, "--spot", ZONE],
    ]


@pytest.mark.parametrize(
    ("kind", "version"),
    [
        ("v3-8", "tpu-ubuntu2204-base"),
        ("v5litepod-4", "v2-alpha-tpuv5-lite"),
        ("v6e-8", "v2-alpha-tpuv6e"),
        ("v4-32", "tpu-vm-tf-2.20.0-pod-pjrt"),
        ("v5litepod-16", "tpu-vm-tf-2.20.0-pod-pjrt"),
    ],
)
def test_the_type_decides_the_version(tpu_vm, kind, version):
    _, calls = tpu_vm(ZONE, f"--type={kind}", "create")
    assert calls[1][5:7] == [f"--accelerator-type={kind}", f"--version={version}"]


def test_a_dry_run_prints_what_would_run(tpu_vm):
    arguments = (ZONE, "--project=p", "create")
    done, calls = tpu_vm("--dry_run", *arguments)
    printed = [shlex.split(line) for line in done.stdout.splitlines()]
    assert calls == []
    assert [["gcloud", *call] for call in tpu_vm(*arguments)[1]] == printed


def follow(path):
    """Wait until a background process has written a file; return its lines."""
    for _ in range(300):
        if path.exists():
            return path.read_text().splitlines()
        time.sleep(0.1)
    raise AssertionError(f"{path} was not written")


@pytest.mark.parametrize("pod", [False, True], ids=["single", "pod"])
def test_train_goes_on_in_the_background_until_stop(tpu_vm, host, pod):
    flags = ["--flagfile=quickstart", "--model_dir=gs://bucket/two words"]
    where = ["--name=big", ZONE, "--project=p", f"--type={'v4-32' if pod else 'v4-8'}"]
    done, _ = tpu_vm(*where, "train", "--", *flags)
    try:
        assert done.returncode == 0, done.stderr
        library, *arguments = follow(host / "arguments")
    finally:
        stopped, _ = tpu_vm(*where, "stop")
    place = [f"--tpu_name={'big' if pod else 'local'}"]
    place += ["--tpu_zone=us-central2-b", "--gcp_project=p"] if pod else []
    assert arguments == ["--strategy=tpu", *place, *flags]
    assert library == ("0" if pod else "unset")
    program_flags.assert_valid(arguments)
    assert "stopped and saved" in stopped.stdout


@pytest.mark.parametrize("pod", [False, True], ids=["single", "pod"])
def test_install_takes_tensorflow_from_one_place(tpu_vm, tmp_path, host, pod):
    if not (ROOT / ".git").exists():
        pytest.skip("no Git repository")
    launchers.stand_in(host / "bin", "python3", PIP)
    kind = "v4-32" if pod else "v4-8"
    pip_calls = tmp_path / "pip_calls"
    done, calls = tpu_vm(ZONE, f"--type={kind}", "install", PIP_CALLS=str(pip_calls))
    assert done.returncode == 0, done.stderr
    assert [call[3] for call in calls] == ["scp", "ssh"]
    kept = (host / "simclr/without_tensorflow.txt").read_text()
    names = re.findall(r"^[\w-]+", kept, re.M)
    assert "tensorflow" not in names
    assert {"tensorflow-datasets", "keras", "numpy"} <= set(names)
    installed = [json.loads(line) for line in pip_calls.read_text().splitlines()]
    first = "cloud-tpu-client" if pod else "tensorflow-tpu==2.20.0"
    assert installed == [
        ["-m", "pip", "install", "--user", *words]
        for words in (
            ["--upgrade", "pip"],
            [first, "-r", "without_tensorflow.txt"],
            ["--no-deps", "."],
        )
    ]


def test_delete_asks_no_question(tpu_vm):
    _, calls = tpu_vm("--name=big", ZONE, "delete")
    assert calls == [[*TPU, "delete", "big", "--quiet", ZONE]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "usage: "),
        (("create",), "--zone is required"),
        ((ZONE, "--tipe=v4-8", "create"), "unknown option --tipe=v4-8"),
        ((ZONE, "--type=4", "create"), "--type=4 is no accelerator type"),
        ((ZONE, "start"), "unknown command start"),
        ((ZONE, "create", "delete"), "two commands"),
        ((ZONE, "create", "--", "--seed=1"), "flags of simclr-tf2 go with train"),
        ((ZONE, "--type=v4-32", "train"), "--project is required"),
    ],
)
def test_wrong_usage_is_refused_in_one_line(tpu_vm, arguments, message):
    done, calls = tpu_vm(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert calls == []
    assert message == "usage: " or done.stderr.count("\n") == 1
