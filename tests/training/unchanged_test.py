"""A data set that is built anew under a run is noticed."""

import dataclasses
import types

import jax
import numpy as np
import pytest
import toy_tabular

import kd_jax
from kd_jax import draws, experiment
from kd_jax.errors import Interrupted, UsageError
from kd_jax.training import unchanged


def method(world):
  """The toy upon what a named data set would hold today."""
  return dataclasses.replace(
    toy_tabular.METHOD,
    phases=lambda config, data, say: toy_tabular.phases(
      config, {"world": world}, say
    ),
  )


def train(workdir, world, **how):
  values = {"arms": ("decay",), "samples": 40, "save_every": 10}
  return kd_jax.train(
    method(world), "tiny", workdir=workdir, quiet=True, **values, **how
  )


def stop(event, step):
  if (event, step) == ("saved", 20):
    raise Interrupted(15, "stopped")


def test_a_run_goes_on_from_its_own_data_alone(tmp_path):
  world = toy_tabular.world()
  with pytest.raises(Interrupted):
    train(tmp_path / "run", world, observer=stop)
  other = {**world, "rewards": world["rewards"].copy()}
  other["rewards"][-1, -1] += 1e-3
  with pytest.raises(UsageError, match="data of exact are not those that"):
    train(tmp_path / "run", other)
  whole = train(tmp_path / "whole", world)
  assert train(tmp_path / "run", world).metrics == whole.metrics


def test_a_run_with_nothing_saved_may_begin_anew(tmp_path):
  world = toy_tabular.world()

  def at_once(event, step):
    raise Interrupted(15, "stopped")

  with pytest.raises(Interrupted):
    train(tmp_path, world, observer=at_once)
  other = {**world, "rewards": 2 * world["rewards"]}
  assert train(tmp_path, other).metrics


def test_a_run_goes_on_by_the_draws_that_began_it(tmp_path, monkeypatch):
  world = toy_tabular.world()
  with pytest.raises(Interrupted):
    train(tmp_path, world, observer=stop)
  monkeypatch.setattr(draws, "VERSION", draws.VERSION + 1)
  with pytest.raises(UsageError, match="whose seeds draw other batches"):
    train(tmp_path, world)


def test_a_finished_run_is_read_whatever_its_draws(tmp_path, monkeypatch):
  world = toy_tabular.world()
  whole = train(tmp_path, world)
  monkeypatch.setattr(draws, "VERSION", draws.VERSION + 1)
  assert train(tmp_path, world).metrics == whole.metrics


def phase(data, **measures):
  return experiment.Phase(
    "p",
    init=None,
    step=None,
    steps=1,
    data=data,
    evaluations={
      name: types.SimpleNamespace(data=value)
      for name, value in measures.items()
    },
  )


def checksum(*args, **measures):
  return unchanged.checksums([phase(*args, **measures)])["p"]


def test_every_array_counts_and_where_it_stands():
  a, b = np.arange(6, dtype=np.float32), np.arange(6, dtype=np.float32)
  b[3] = -1
  found = [
    checksum({"x": a}),
    checksum({"x": b}),
    checksum({"y": a}),
    checksum({"x": a.reshape(2, 3)}),
    checksum({"x": a.astype(np.int32)}),
    checksum({"x": a, "y": b}),
    checksum({"x": b, "y": a}),
    checksum({"x": a}, test=b),
    checksum({"x": jax.random.key(0)}),
    checksum({"x": jax.random.key(1)}),
    checksum({"x": np.zeros((0, 3), bool)}),
    checksum(None),
  ]
  assert len({*found}) == len(found)
  assert checksum({"x": jax.numpy.asarray(a)}) == found[0]
  assert checksum({"x": a.reshape(2, 3).T.T}) == found[3]
