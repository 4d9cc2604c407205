"""Benchmarks of this package; all run with the kernels that the program runs with."""

import os

import simclr_tf2

assert simclr_tf2  # its import, before TensorFlow's, turns oneDNN on for all cases
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


def machine_line() -> str:
    """Describe CPU, cores, kernels and instructions, to print above a table."""
    from simclr_tf2 import startup

    startup.start_tensorflow()
    return startup.kernels()
