"""Estimates of memory, communication and time of a run, without running it."""
