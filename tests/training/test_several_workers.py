"""The loop on two workers whose clocks disagree, as with GPUs of different speed."""

import json
import subprocess
import sys

import pytest

from deploy.cluster_demo import free_ports

PROGRAM = """
import json, sys
index, addresses = int(sys.argv[1]), tuple(sys.argv[2].split(","))
import tensorflow as tf
from simclr_tf2 import distribution
from simclr_tf2.config import DistributionConfig
from simclr_tf2.training import loop
from simclr_tf2.training.cadence import Cadence

loop.CHUNK_SECONDS = (0.5, 1e-9)[index]  # worker 1 alone would run single steps
strategy = distribution.training_strategy(
    DistributionConfig(cluster=addresses, task_index=index, worker_timeout=120)
)
with strategy.scope():
    weight = tf.Variable(1.0)
ran, logged, saved = [], [], []

def step(batch):
    total = distribution.all_gather(batch * weight)
    return {"loss": tf.reduce_sum(total)}

def dataset(length, start):
    # Elements whose sum is the number of the step
    return strategy.distribute_datasets_from_function(
        lambda context: tf.data.Dataset.counter(start).map(
            lambda step: tf.fill([length], tf.cast(step, tf.float32) / length)
        )
    )

loop.train(
    step,
    dataset(1, 0),
    strategy=strategy,
    cadence=Cadence(total_steps=60, log_every=20, checkpoint_every=30),
    hooks=loop.Hooks(
        log=lambda now, scalars: logged.append([now, scalars["loss"]]),
        save=saved.append,
        monitor=lambda now: None,
        ran=ran.append,
    ),
    examples_per_step=2,
    variables=[weight],
    later=[loop.Stage(start=27, make=lambda: dataset(2, 27))],
)
found = {"ran": ran, "logged": logged, "saved": saved}
print("FOUND " + json.dumps(found), flush=True)
distribution.workers(strategy).exchange("done")
"""


@pytest.mark.slow
@pytest.mark.story
def test_workers_with_other_clocks_run_the_same_chunks():
    addresses = ",".join(f"localhost:{port}" for port in free_ports(2))
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(index), addresses],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in (0, 1)
    ]
    try:
        outputs = [worker.communicate(timeout=240) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    found = []
    for worker, (out, err) in zip(workers, outputs, strict=True):
        assert worker.returncode == 0, err[-3000:]
        line = next(x for x in out.splitlines() if x.startswith("FOUND "))
        found.append(json.loads(line.removeprefix("FOUND ")))
    assert found[0] == found[1]
    assert found[0]["saved"] == [30, 60] and 27 in found[0]["ran"]
    # The sum over workers of the mean number of a step from 0 on.
    assert found[0]["logged"] == [[20, 19.0], [40, 59.0], [60, 99.0]]
    lengths = [
        b - a for a, b in zip([0, *found[0]["ran"]], found[0]["ran"], strict=False)
    ]
    assert max(lengths) > 1  # the pace of worker 0, not that of worker 1
