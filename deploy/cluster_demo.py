"""Train with several workers on this machine, and take some of them away.

    python deploy/cluster_demo.py            # all scenarios
    python deploy/cluster_demo.py kill       # one of them

Every worker is a process with its own gRPC server, as on several machines. The tests
run the same scenarios.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SETTINGS = (
    "--mode=pretrain --dataset=simclr_shapes --eval_split=test --image_size=32 "
    "--resnet_depth=10 --width_multiplier=0.125 --train_batch_size=12 "
    "--train_steps=60 --warmup_epochs=0 --checkpoint_steps=10 --log_steps=1 "
    "--monitor_epochs=0 --nolineareval_while_pretraining --protocols= "
    "--export_formats= --noreport --progress=plain --mixed_precision=off"
).split()
LIMIT = 300.0  # seconds that a process may take
GONE = 30.0  # seconds within which workers end after another one


class LocalCluster:
    """Workers of one training as processes of this machine.

    Args:
        count: Number of workers.
        folder: Folder of their logs.
        model_dir: Run folder of all workers.
        flags: Flags of all workers, beside ``SETTINGS``.
        own_flags: Worker -> flags of its own.
        start: Workers to start; None: all.
        networks: Network namespace of each worker, and its address there; None: all
            are on this machine's own network.
    """

    def __init__(
        self,
        count: int,
        folder: Path,
        model_dir: Path,
        *,
        flags: Sequence[str] = (),
        own_flags: dict[int, Sequence[str]] | None = None,
        start: Sequence[int] | None = None,
        networks: Sequence[tuple[str, str]] | None = None,
    ) -> None:
        self.model_dir, self._folder = model_dir, folder
        hosts = ["localhost"] * count if networks is None else [n[1] for n in networks]
        ports = free_ports(count)
        self.addresses = [f"{h}:{p}" for h, p in zip(hosts, ports, strict=True)]
        self._within = [
            [] if networks is None else ["ip", "netns", "exec", networks[i][0]]
            for i in range(count)
        ]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        for index in range(count) if start is None else start:
            own = (own_flags or {}).get(index, ())
            self._start(index, [*flags, *own])

    def _start(self, index: int, flags: Sequence[str]) -> None:
        command = [
            *self._within[index],
            sys.executable,
            str(REPOSITORY / "run.py"),
            *SETTINGS,
            f"--model_dir={self.model_dir}",
            f"--cluster={','.join(self.addresses)}",
            f"--task_index={index}",
            *flags,
        ]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        environment.pop("TF_CONFIG", None)
        with open(self._log(index), "wb") as log:
            self._processes[index] = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env=environment,
            )

    def _log(self, index: int) -> Path:
        return self._folder / f"worker{index}.log"

    def output(self, index: int) -> str:
        """Return what a worker has written."""
        return self._log(index).read_text(errors="replace")

    def last_line(self, index: int) -> str:
        """Return the last line that a worker has written."""
        lines = self.output(index).strip().splitlines()
        return lines[-1] if lines else ""

    def wait_for_step(self, step: int) -> None:
        """Wait until the run has logged a step.

        Raises:
            RuntimeError: A worker ended before, or it took too long.
        """
        end = time.monotonic() + LIMIT
        while self.step() < step:
            ended = [i for i, p in self._processes.items() if p.poll() is not None]
            if ended or time.monotonic() > end:
                raise RuntimeError(f"no step {step}: {self.report()}")
            time.sleep(0.1)

    def step(self) -> int:
        """Return the last logged step; 0 if there is none."""
        try:
            lines = (self.model_dir / "metrics.jsonl").read_text().splitlines()
            return int(json.loads(lines[-1])["step"]) if lines else 0
        except (OSError, ValueError):
            return 0

    def send(self, index: int, number: int) -> None:
        """Send a signal to a worker."""
        self._processes[index].send_signal(number)

    def wait(self, *indices: int, seconds: float = LIMIT) -> list[int]:
        """Wait for workers to end; return their exit codes.

        Raises:
            RuntimeError: One of them still runs after ``seconds``.
        """
        end = time.monotonic() + seconds
        codes = []
        for index in indices or sorted(self._processes):
            try:
                left = max(0.1, end - time.monotonic())
                codes.append(self._processes[index].wait(left))
            except subprocess.TimeoutExpired:
                raise RuntimeError(
                    f"worker {index} runs after {seconds} s: {self.report()}"
                ) from None
        return codes

    def report(self) -> str:
        """Return the ends of all logs."""
        return "\n".join(
            f"--- worker {index}\n{self.output(index)[-2000:]}"
            for index in self._processes
        )

    def close(self) -> None:
        """Kill what still runs."""
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()

    def __enter__(self) -> LocalCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("localhost", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def expect(holds: bool, what: str, cluster: LocalCluster) -> None:
    """Raise with all logs unless ``holds``."""
    if not holds:
        raise RuntimeError(f"expected: {what}\n{cluster.report()}")


def weights(model_dir: Path) -> dict[str, bytes]:
    """Return the values of all variables of the newest checkpoint, as bytes."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(model_dir)))
    return {
        name: reader.get_tensor(name).tobytes()
        for name in reader.get_variable_to_shape_map()
        if ".ATTRIBUTES/VARIABLE_VALUE" in name
    }


def interrupted(folder: Path) -> str:
    """Stop a run by a signal, then kill a worker; it ends as one that was left alone.

    SIGTERM to worker 1 makes both save the same step and exit with code 42. After a new
    start worker 1 is killed, and worker 0 exits with code 1 within 30 seconds.
    """
    alone = folder / "uninterrupted"
    with LocalCluster(2, folder, alone) as cluster:
        expect(cluster.wait() == [0, 0], "both workers end well", cluster)
        logged = (alone / "metrics.jsonl").read_text().splitlines()
        expect(len(logged) == 60, "each step is logged once", cluster)
    run = folder / "interrupted"
    with LocalCluster(2, folder, run) as cluster:
        cluster.wait_for_step(12)
        cluster.send(1, signal.SIGTERM)
        expect(cluster.wait() == [42, 42], "both save and exit 42", cluster)
        stopped = cluster.step()
        for index in (0, 1):
            found = f"at step {stopped} and saved" in cluster.last_line(index)
            expect(found, f"worker {index} says the step", cluster)
    with LocalCluster(2, folder, run) as cluster:
        cluster.wait_for_step(stopped + 12)
        cluster.send(1, signal.SIGKILL)
        expect(cluster.wait(0, seconds=GONE) == [1], "worker 0 exits 1", cluster)
        expect("worker 1 (" in cluster.last_line(0), "worker 1 is named", cluster)
        expect("is saved" in cluster.last_line(0), "it says what is saved", cluster)
    with LocalCluster(2, folder, run) as cluster:
        expect(cluster.wait() == [0, 0], "both workers end well", cluster)
    if weights(run) != weights(alone):
        raise RuntimeError("the interrupted run has other weights")
    return f"stopped at step {stopped}, killed, restarted: the weights are equal"


def streamed(folder: Path) -> str:
    """Train on streamed records on two workers; the losses are those of one worker."""
    flags = ["--cache=off", "--micro_batch_size=3", "--loss_block_size=4"]
    flags += ["--augment_on=device", "--train_steps=6"]
    losses = []
    for count, more in ((2, ()), (1, ["--num_virtual_devices=2"])):
        run = folder / f"on{count}"
        with LocalCluster(count, folder, run, flags=[*flags, *more]) as cluster:
            expect(cluster.wait() == [0] * count, "all workers end well", cluster)
        lines = (run / "metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["loss"] for line in lines])
    apart = max(abs(a - b) / b for a, b in zip(*losses, strict=True))
    if apart > 1e-4:  # float32
        raise RuntimeError(f"expected equal losses: {losses}")
    return f"the losses of 6 steps differ by {apart:.0e} at most"


def hanging(folder: Path) -> str:
    """Suspend one of three workers; the others exit with code 1 and name it."""
    with LocalCluster(3, folder, folder / "hanging") as cluster:
        cluster.wait_for_step(12)
        cluster.send(2, signal.SIGSTOP)
        codes = cluster.wait(0, 1, seconds=GONE)
        expect(codes == [1, 1], "the others exit 1", cluster)
        for index in (0, 1):
            found = "worker 2 (" in cluster.last_line(index)
            expect(found, f"worker {index} names worker 2", cluster)
    return "the other two workers exit and name it"


class NotHere(Exception):
    """Error of a scenario that this machine does not allow."""


@contextlib.contextmanager
def two_networks() -> Iterator[list[tuple[str, str]]]:
    """Make two network namespaces with a cable between them.

    Yields:
        Name and address of each.

    Raises:
        NotHere: That needs root, Linux and the command ``ip``.
    """
    mark = secrets.token_hex(3)
    names = [f"a{mark}", f"b{mark}"]
    hosts = ["10.213.77.1", "10.213.77.2"]
    try:
        for name in names:
            _ip("netns", "add", name)
        cable = ["link", "add", names[0], "netns", names[0], "type", "veth"]
        _ip(*cable, "peer", "name", names[1], "netns", names[1])
        for name, host in zip(names, hosts, strict=True):
            _ip("-n", name, "address", "add", f"{host}/24", "dev", name)
            _ip("-n", name, "link", "set", name, "up")
            _ip("-n", name, "link", "set", "lo", "up")
        yield list(zip(names, hosts, strict=True))
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotHere(f"network namespaces cannot be made here: {error}") from error
    finally:
        for name in names:
            with contextlib.suppress(OSError, subprocess.CalledProcessError):
                _ip("netns", "delete", name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def cut_off(folder: Path) -> str:
    """Cut the cable between two workers; both exit with code 1 and name the other."""
    with two_networks() as networks:
        run = folder / "cut_off"
        with LocalCluster(2, folder, run, networks=networks) as cluster:
            cluster.wait_for_step(12)
            name = networks[0][0]
            _ip("-n", name, "link", "set", name, "down")
            codes = cluster.wait(seconds=GONE)
            expect(codes == [1, 1], "both exit 1", cluster)
            for index in (0, 1):
                found = f"worker {1 - index} (" in cluster.last_line(index)
                expect(found, f"worker {index} names the other", cluster)
    return "both workers exit and name the other one"


def absent(folder: Path) -> str:
    """Start one of two workers; it exits with code 2 and names the other."""
    flags = ["--worker_timeout=5"]
    run = folder / "absent"
    with LocalCluster(2, folder, run, flags=flags, start=[0]) as cluster:
        expect(cluster.wait() == [2], "worker 0 exits 2", cluster)
        line = cluster.last_line(0)
        expect("worker 1 (" in line and "did not come" in line, "it says why", cluster)
        expect(not run.exists(), "nothing is written", cluster)
    return "worker 0 exits and names worker 1"


def different(folder: Path) -> str:
    """Start workers with other flags; all exit with code 2 and name the flags."""
    run = folder / "different"
    own = {1: ["--steps_per_loop=3", "--temperature=0.5"]}
    flags = ["--steps_per_loop=4"]
    with LocalCluster(2, folder, run, flags=flags, own_flags=own) as cluster:
        expect(cluster.wait() == [2, 2], "both exit 2", cluster)
        for index in (0, 1):
            line = cluster.last_line(index)
            named = "--steps_per_loop is 4 on worker 0, 3 on worker 1" in line
            expect(named and "--temperature" in line, "flags are named", cluster)
        expect(not run.exists(), "nothing is written", cluster)
    return "both workers exit and name the flags"


def unequal(folder: Path) -> str:
    """Give one worker two devices; both exit with code 2 and say so."""
    own = {1: ["--num_virtual_devices=2"]}
    run = folder / "unequal"
    with LocalCluster(2, folder, run, own_flags=own) as cluster:
        expect(cluster.wait() == [2, 2], "both exit 2", cluster)
        for index in (0, 1):
            found = "1 at worker 0, 2 at worker 1" in cluster.last_line(index)
            expect(found, "the devices are named", cluster)
        expect(not run.exists(), "nothing is written", cluster)
    return "both workers exit and name their devices"


def apart(folder: Path) -> str:
    """Give each worker a run folder of its own; all exit with code 2."""
    for name in ("a", "b"):
        (folder / name).mkdir()
    own = {i: [f"--model_dir={folder / n / 'run'}"] for i, n in enumerate("ab")}
    with LocalCluster(2, folder, folder / "unused", own_flags=own) as cluster:
        expect(cluster.wait() == [2, 2], "both exit 2", cluster)
        for index in (0, 1):
            line = cluster.last_line(index)
            expect("is not a shared folder" in line, "it says why", cluster)
        left = [*(folder / "a").iterdir(), *(folder / "b").iterdir()]
        expect(not left, "nothing is written", cluster)
    return "both workers exit and say that the folder is not shared"


def lonely_error(folder: Path) -> str:
    """Give one worker a bad data folder; all exit with code 2 and say which."""
    broken = folder / "no_folder_here"
    broken.write_text("a file")
    own = {1: [f"--data_dir={broken}"]}
    with LocalCluster(2, folder, folder / "error", own_flags=own) as cluster:
        codes = cluster.wait()
        expect(codes == [2, 2], "both exit 2", cluster)
        line = cluster.last_line(0)
        expect("worker 1 (" in line and str(broken) in line, "it is named", cluster)
    return "both workers exit with the reason of worker 1"


SCENARIOS: dict[str, Callable[[Path], str]] = {
    "interrupted": interrupted,
    "streamed": streamed,
    "hanging": hanging,
    "cut_off": cut_off,
    "absent": absent,
    "different": different,
    "unequal": unequal,
    "apart": apart,
    "error": lonely_error,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run scenarios and print a line for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SCENARIOS))
    names = parser.parse_args(arguments).names or list(SCENARIOS)
    unknown = set(names) - set(SCENARIOS)
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    for name in names:
        began = time.monotonic()
        scenario = SCENARIOS[name]
        print(f"{name}: {(scenario.__doc__ or '').splitlines()[0]}", flush=True)
        with tempfile.TemporaryDirectory(prefix="cluster_demo_") as folder:
            try:
                found = scenario(Path(folder))
            except NotHere as error:
                found = f"skipped: {error}"
        print(f"  {found} ({time.monotonic() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
