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
    weight = tf.Variable(
        0.0, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA, trainable=False
    )
ran, logged, saved = [], [], []

def step(batch):
    context = tf.distribute.get_replica_context()
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, batch)
    weight.assign_add(tf.reduce_sum(total))
    return {"loss": tf.identity(weight)}

loop.train(
    step,
    strategy.distribute_datasets_from_function(
        lambda context: tf.data.Dataset.from_tensors(tf.ones([1])).repeat()
    ),
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
)
found = {"ran": ran, "logged": logged, "saved": saved, "weight": float(weight.numpy())}
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
    assert found[0]["saved"] == [30, 60] and found[0]["weight"] == 120
    assert [now for now, _ in found[0]["logged"]] == [20, 40, 60]
    lengths = [
        b - a for a, b in zip([0, *found[0]["ran"]], found[0]["ran"], strict=False)
    ]
    assert max(lengths) > 1  # the pace of worker 0, not that of worker 1
