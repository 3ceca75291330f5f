"""Running the command in child processes, and comparing what they leave."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np

from kd_jax import api

HERE = pathlib.Path(__file__).parent


def environment():
  # An empty part would stand for the working directory: the checkout.
  path = [str(HERE), os.environ.get("PYTHONPATH", "")]
  return {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(filter(None, path)),
    "JAX_PLATFORMS": "cpu",
    "COLUMNS": "118",
  }


def run_jobs(*jobs):
  """Exit codes of the jobs (see child.py), and what they said on stderr."""
  done = subprocess.run(
    [sys.executable, str(HERE / "child.py")],
    input=json.dumps(jobs),
    capture_output=True,
    text=True,
    env=environment(),
    timeout=280,
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout), done.stderr


def leaves(workdir):
  """Every leaf of every product of a finished run, by name."""
  products = api.open_run(workdir).products
  found = jax.tree_util.tree_leaves_with_path(products)
  return {jax.tree_util.keystr(k): np.asarray(v) for k, v in found}


def assert_same_runs(one, other):
  """Two folders hold the same run to the bit, times aside."""
  a, b = leaves(one), leaves(other)
  assert a.keys() == b.keys()
  for name, leaf in a.items():
    assert leaf.dtype == b[name].dtype, name
    assert leaf.tobytes() == b[name].tobytes(), name
  rows = [(d / "metrics.jsonl").read_text() for d in (one, other)]
  assert rows[0] == rows[1]
  tables = [(d / "metrics.csv").read_text() for d in (one, other)]
  assert tables[0] == tables[1]
  first, second = (
    json.loads((d / "summary.json").read_text()) for d in (one, other)
  )
  for name in ("metrics", "steps", "examples", "seed", "config"):
    assert first[name] == second[name], name
