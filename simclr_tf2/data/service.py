"""The processes of tf.data service: many CPU hosts that feed one accelerator.

One dispatcher, any number of workers, each a process of its own::

    python -m simclr_tf2.data.service dispatcher --port=5000
    python -m simclr_tf2.data.service worker --dispatcher=HOST:5000 --host=WORKER

Then train with ``--data_service=grpc://HOST:5000``. Workers read image files and
records themselves, under the same paths as the trainer. A batch goes to whichever
worker is free, so that the order of batches, unlike their contents, is not repeatable.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import tensorflow as tf


def distribute(dataset: tf.data.Dataset, address: str) -> tf.data.Dataset:
    """Let the workers of the service at ``address`` (grpc://host:port) make a dataset.

    The source of ``dataset`` is dealt out one by one to whoever is free: of each step
    (of a stream: of each window) exactly one worker makes the batches. The source has
    to be ``order.count_from``. Every trainer that calls this has a job of its own, so
    that several trainers get the rows of their own plans.
    """
    service = tf.data.experimental.service
    return dataset.apply(
        service.distribute(
            processing_mode=service.ShardingPolicy.DYNAMIC, service=address
        )
    )


def dispatcher(*, port: int) -> tf.data.experimental.service.DispatchServer:
    """Start a dispatcher in this process; port 0 takes a free one."""
    config = tf.data.experimental.service.DispatcherConfig(port=port)
    return tf.data.experimental.service.DispatchServer(config)


def worker(
    address: str, *, port: int = 0, host: str = "localhost"
) -> tf.data.experimental.service.WorkerServer:
    """Start a worker in this process.

    Args:
        address: host:port of the dispatcher.
        port: To listen on; 0 takes a free one.
        host: Under which the trainer reaches this machine.
    """
    config = tf.data.experimental.service.WorkerConfig(
        dispatcher_address=address,
        worker_address=f"{host}:%port%" if port == 0 else f"{host}:{port}",
        port=port,
    )
    return tf.data.experimental.service.WorkerServer(config)


def main(arguments: Sequence[str] | None = None) -> None:
    """Start what the command line asks for, and stay."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=("dispatcher", "worker"))
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--dispatcher", help="worker: host:port of the dispatcher")
    parser.add_argument("--host", default="localhost", help="worker: its own name")
    given = parser.parse_args(arguments)
    if given.kind == "dispatcher":
        server = dispatcher(port=given.port)
        print(f"dispatcher at {server.target}", flush=True)
    else:
        if not given.dispatcher:
            parser.error("a worker needs --dispatcher=HOST:PORT")
        server = worker(given.dispatcher, port=given.port, host=given.host)
        print(f"worker of {given.dispatcher}", flush=True)
    server.join()


if __name__ == "__main__":
    main()
