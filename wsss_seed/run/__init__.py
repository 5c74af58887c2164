"""Runs over datasets: order, resume, shards, devices, errors, progress."""
