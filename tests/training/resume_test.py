"""A killed run goes on to the bits of the one that was left alone."""

import json
import signal

import jax
import numpy as np
import processes
import pytest

from kd_jax.training import checkpoint

SIGKILL, SIGTERM, SIGINT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
# Stops that neither divide each other nor the phases' lengths: a checkpoint
# holds sums of a row of metrics that is not written yet.
TABULAR = ["train", "toy_tabular", "tiny", "--quiet", "--samples", "100"]
TABULAR += ["--arms", "decay", "constant", "--log-every", "30"]
TABULAR += ["--save-every", "40", "--eval-every", "70", "--workdir"]
NET = ["train", "toy_net", "--quiet", "--workdir"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """An uninterrupted run."""
  folder = tmp_path_factory.mktemp("whole") / "run"
  codes, said = processes.run_jobs({"words": [*TABULAR, str(folder)]})
  assert codes == [0], said
  return folder


def checkpoints(folder):
  paths = sorted((folder / "checkpoints").glob("[0-9]*"))
  return [
    (checkpoint.read_about(p)["phase"], checkpoint.read_about(p)["step"])
    for p in paths
    if p.name.isdigit()
  ]


def test_killed_at_every_point(whole, tmp_path):
  points = [
    ("step", 30, SIGKILL),  # Before the first save.
    ("saving", 40, "rename"),  # All bytes are there, and the name is not.
    ("saved", 80, SIGKILL),
    ("step", 90, SIGKILL),  # Rows after the checkpoint are to be cut off.
    ("finishing", 100, "rename"),  # A half-written product.
    ("product", 100, SIGKILL),  # Before the checkpoints are cleared.
    ("phase", 0, SIGKILL),  # Between two phases.
    ("saved", 40, SIGKILL),
    ("saving", 80, "rename"),  # With an earlier checkpoint beside it.
    ("product", 100, "delete"),  # While the checkpoints are cleared.
    ("step", 60, SIGKILL),
  ]
  words = [*TABULAR, str(tmp_path / "run")]
  jobs = [{"words": words, "at": at} for at in points]
  codes, said = processes.run_jobs(*jobs, {"words": words})
  assert codes == [-SIGKILL] * len(points) + [0], said
  assert "Traceback" not in said
  processes.assert_same_runs(whole, tmp_path / "run")
  assert not checkpoints(tmp_path / "run")
  assert not list((tmp_path / "run").rglob("*tmp*"))


def test_signals_save_then_exit(whole, tmp_path):
  words = [*TABULAR, str(tmp_path / "run")]
  codes, said = processes.run_jobs(
    {"words": words, "at": ["step", 60, SIGTERM]}
  )
  assert codes == [143]
  lines = [x for x in said.splitlines() if x.startswith("kd-jax:")]
  assert len(lines) == 1
  assert "SIGTERM at step 60 of [1/3] exact" in lines[0]
  assert ("exact", 60) in checkpoints(tmp_path / "run")
  codes, said = processes.run_jobs(
    {"words": words, "at": ["step", 70, SIGINT]}, {"words": words}
  )
  assert codes == [130, 0], said
  processes.assert_same_runs(whole, tmp_path / "run")


def test_resume_on_another_number_of_devices(tmp_path):
  one, mixed, stream = (tmp_path / n for n in ("one", "mixed", "stream"))
  words = [*NET, str(mixed)]
  streamed = [*NET, str(stream), "--stream", "True"]
  codes, said = processes.run_jobs(
    {"words": [*NET, str(one)]},
    {"words": words, "devices": 4, "at": ["saved", 8, SIGKILL]},
    {"words": words},
    # A stream goes on at the right batch, and gives what columns give.
    {"words": streamed, "devices": 4, "at": ["step", 20, SIGKILL]},
    {"words": streamed, "devices": 4},
  )
  assert codes == [0, -SIGKILL, 0, -SIGKILL, 0], said
  expect = processes.leaves(one)
  for folder in (mixed, stream):
    got = processes.leaves(folder)
    assert got.keys() == expect.keys()
    for name, leaf in expect.items():
      np.testing.assert_allclose(got[name], leaf, rtol=1e-4, atol=1e-5)
    metrics = [
      json.loads((f / "summary.json").read_text())["metrics"]
      for f in (one, folder)
    ]
    assert metrics[0] == pytest.approx(metrics[1], rel=1e-5)
  assert jax.tree.leaves(expect)
