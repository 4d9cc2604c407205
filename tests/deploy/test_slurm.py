"""The Slurm script: shellcheck, sbatch, and its commands with stand-ins for Slurm."""

import json
import shutil
import subprocess

import pytest

from simclr_tf2 import stopping
from tests.support import launchers, program_flags

SCRIPT = "slurm/pretrain.sbatch"
FLAGS = ["--flagfile=quickstart", "--model_dir=/shared/runs/two words"]
SCONTROL = """
echo "scontrol $*" >> "$CALLS"
[[ "$1 $2" != "show hostnames" ]] || printf 'node%s\\n' ${HOSTS:-7 9}
"""
# Runs the tasks one after the other. Ends with the highest exit code, as srun does.
SRUN = """
echo "srun $1" >> "$CALLS"
shift
highest=0
for ((SLURM_PROCID = 0; SLURM_PROCID < SLURM_NTASKS; SLURM_PROCID++)); do
  export SLURM_PROCID
  code=0
  "$@" || code=$?
  ((code <= highest)) || highest=$code
done
exit "$highest"
"""
PROGRAM = f"""{launchers.RECORD} >> "$PROGRAM_CALLS"
exit "${{CODE:-0}}"
"""


@pytest.fixture(autouse=True)
def _flags_as_before():
    yield
    program_flags.forget()


@pytest.fixture
def submit(tmp_path):
    """Run the script; return its result, Slurm's calls and the program's arguments."""
    programs = tmp_path / "bin"
    for name, script in (
        ("scontrol", SCONTROL),
        ("srun", SRUN),
        ("simclr-tf2", PROGRAM),
    ):
        launchers.stand_in(programs, name, script)

    def call(tasks=2, **variables):
        calls, started = tmp_path / "calls", tmp_path / "started"
        done = launchers.start(
            SCRIPT,
            *FLAGS,
            programs=programs,
            folder=tmp_path,
            CALLS=str(calls),
            PROGRAM_CALLS=str(started),
            SLURM_JOB_ID="1234567",
            SLURM_JOB_NODELIST="node[7,9]",
            SLURM_NTASKS=str(tasks),
            **variables,
        )
        lines = started.read_text().splitlines() if started.exists() else []
        slurm = calls.read_text().splitlines()
        return done, slurm, [json.loads(line) for line in lines]

    return call


def test_each_node_runs_one_worker_of_the_cluster(submit):
    done, calls, commands = submit()
    assert done.returncode == 0, done.stderr
    assert calls == [
        "scontrol show hostnames node[7,9]",
        "srun --kill-on-bad-exit=0",
    ]
    cluster = "--cluster=node7:24567,node9:24567"
    assert commands == [
        [*FLAGS, "--strategy=multi_worker", cluster, f"--task_index={index}"]
        for index in range(2)
    ]
    for command in commands:
        program_flags.assert_valid(command)


def test_one_node_needs_no_cluster(submit):
    done, _, commands = submit(tasks=1, HOSTS="7")
    assert done.returncode == 0, done.stderr
    assert commands == [FLAGS]


@pytest.mark.parametrize(
    ("code", "requeued"), [(0, False), (1, False), (2, False), (stopping.SAVED, True)]
)
def test_only_a_stopped_and_saved_run_is_queued_again(submit, code, requeued):
    done, calls, _ = submit(CODE=str(code))
    assert done.returncode == code
    assert ("scontrol requeue 1234567" in calls) == requeued
    assert ("queued again" in done.stdout) == requeued


def test_several_tasks_on_a_node_are_refused(submit):
    done, calls, commands = submit(tasks=4)
    assert done.returncode == 2
    assert "--ntasks-per-node=1" in done.stderr
    assert len(calls) == 1 and commands == []


@pytest.mark.parametrize("script", launchers.SCRIPTS)
def test_shellcheck_finds_nothing(script):
    command = [launchers.tool("shellcheck"), str(launchers.DEPLOY / script)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_shellcheck_finds_a_mistake(tmp_path):
    text = (launchers.DEPLOY / SCRIPT).read_text()
    wrong = text.replace('exit "$code"', "exit $cod")
    assert wrong != text
    (tmp_path / "wrong.sh").write_text(wrong)
    command = [launchers.tool("shellcheck"), str(tmp_path / "wrong.sh")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0 and "cod is referenced but not assigned" in done.stdout


@pytest.fixture
def sbatch(tmp_path):
    """Submit a script to a cluster that is not there; return what sbatch says.

    sbatch reads all options first, so it says whether it accepts them.
    """
    if shutil.which("sbatch") is None:
        pytest.skip("sbatch is not installed (Debian package slurm-client)")
    conf = tmp_path / "slurm.conf"
    conf.write_text(
        "ClusterName=test\nSlurmctldHost=localhost\nMessageTimeout=2\n"
        "AuthType=auth/none\nGresTypes=gpu\nNodeName=n\nPartitionName=all Nodes=n\n"
    )

    def submit(path):
        done = subprocess.run(
            [shutil.which("sbatch"), "--test-only", str(path)],
            env={"PATH": "/usr/bin:/bin", "SLURM_CONF": str(conf)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.stderr

    return submit


def test_sbatch_accepts_the_options(sbatch):
    assert "Unable to contact slurm controller" in sbatch(launchers.DEPLOY / SCRIPT)


@pytest.mark.parametrize(
    ("option", "wrong", "message"),
    [
        ("--requeue", "--requeues", "unrecognized option"),
        ("--signal=TERM@180", "--signal=STOPPED@180", "Invalid --signal"),
        ("--open-mode=append", "--open-mode=end", "Invalid --open-mode"),
    ],
)
def test_sbatch_refuses_a_wrong_option(sbatch, tmp_path, option, wrong, message):
    text = (launchers.DEPLOY / SCRIPT).read_text()
    changed = tmp_path / "wrong.sbatch"
    changed.write_text(text.replace(f"#SBATCH {option}", f"#SBATCH {wrong}"))
    assert message in sbatch(changed)
