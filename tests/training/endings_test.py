"""Runs that must end: numbers that are not finite, streams that break off."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
import toy_net
import toy_tabular

import kd_jax
from kd_jax.errors import NonFiniteError
from kd_jax.experiment import Epoch, Phase
from kd_jax.metrics import Mean, mean

TABULAR, NET = toy_tabular.METHOD, toy_net.METHOD


def unfused(method):
  def phases(*args):
    return [dataclasses.replace(p, fused=False) for p in method.phases(*args)]

  return dataclasses.replace(method, phases=phases)


@pytest.mark.parametrize("fuse", [True, False])
def test_a_non_finite_step_is_named(tmp_path, fuse):
  method = TABULAR if fuse else unfused(TABULAR)
  how = {"samples": 200, "explode_at": 136, "log_every": 50, "save_every": 60}
  with pytest.raises(NonFiniteError) as error:
    kd_jax.train(method, "tiny", workdir=tmp_path, quiet=True, **how)
  # Steps are counted from 1: state.step is 136 when the 137th is taken.
  assert "[2/2] decay.learn" in str(error.value)
  assert "at step 137." in str(error.value)
  assert not (tmp_path / "summary.json").exists()
  events = []
  with pytest.raises(NonFiniteError, match=r"at step 137\."):
    kd_jax.train(
      method,
      "tiny",
      workdir=tmp_path,
      quiet=True,
      observer=lambda e, s: events.append((e, s)),
      **how,
    )
  assert events[0] == ("phase", 120)


@pytest.mark.parametrize("fuse", [True, False])
def test_a_state_that_is_lost_ends_the_run(tmp_path, fuse):
  """Doubled each step from 1, a parameter is infinite after 128 of them."""

  def phases(config, data, say):
    def step(state, data, *, axis_name=None):
      params = {"kernel": state["params"]["kernel"] * 2}
      state = {"params": params, "step": state["step"] + 1}
      return state, {"loss": mean(jnp.zeros(3))}

    def begin(products, seed):
      return {"params": {"kernel": jnp.ones(2)}, "step": jnp.int32(0)}

    rest = {"fused": fuse, "may_diverge": config.explode_at == 0}
    return [Phase("grow", begin, step, config.samples, arm="decay", **rest)]

  method = dataclasses.replace(
    TABULAR, phases=phases, plots=None, apply=None, answers={}
  )
  how = {"quiet": True, "samples": 200, "log_every": 50, "save_every": 75}
  with pytest.raises(NonFiniteError) as error:
    kd_jax.train(method, "tiny", workdir=tmp_path / "a", **how)
  when = "steps 101 to 150" if fuse else "step 128"
  assert "params/kernel, though no loss or metric did" in str(error.value)
  assert f"became NaN or infinite at {when}." in str(error.value)
  events = []
  with pytest.raises(NonFiniteError):
    kd_jax.train(
      method,
      "tiny",
      workdir=tmp_path / "a",
      observer=lambda *event: events.append(event),
      **how,
    )
  assert events[0] == ("phase", 75)  # What was saved is finite.
  how |= {"workdir": tmp_path / "b", "explode_at": 0}
  run = kd_jax.train(method, "tiny", **how)
  assert np.isinf(run.products["decay.grow"]["params"]["kernel"]).all()


def test_a_state_that_an_epoch_loses_ends_the_run(tmp_path):
  def phases(config, data, say):
    def step(state, data, *, axis_name=None):
      return {**state, "step": state["step"] + 1}, {"loss": mean(jnp.zeros(3))}

    def epoch(state, data, *, axis_name=None):
      bias = jnp.where(state["step"] == 100, jnp.nan, state["bias"])
      return {**state, "bias": bias}, {"nothing": jnp.zeros(())}

    def begin(products, seed):
      return {"bias": jnp.ones(2), "step": jnp.int32(0)}

    every = Epoch(epoch, 50, None)
    return [Phase("go", begin, step, 200, arm="decay", epoch=every)]

  method = dataclasses.replace(
    TABULAR, phases=phases, plots=None, apply=None, answers={}
  )
  with pytest.raises(NonFiniteError, match=r"bias, .* at step 100\."):
    kd_jax.train(method, "tiny", workdir=tmp_path, quiet=True)


@pytest.mark.parametrize("lost", [False, True])
def test_a_stream_that_breaks_off_loses_no_row(tmp_path, lost):
  """The row of the steps before is written, though it waits for the next."""

  def phases(*args):
    (phase,) = NET.phases(*args)

    def stream(step):
      for i, batch in enumerate(phase.stream(step)):
        if i == 5:  # Two batches are on their way beside a step's.
          raise OSError("the disk is gone")
        yield batch

    def step(state, data, **how):
      state, found = phase.step(state, data, **how)
      if lost:  # In the steps that are under way: the cause is told first.
        found = {**found, "loss": Mean(jnp.float32(jnp.nan), jnp.float32(1))}
      return state, found

    return [dataclasses.replace(phase, stream=stream, step=step)]

  method = dataclasses.replace(NET, phases=phases)
  how = {"stream": True, "steps": 13, "log_every": 1, "eval_every": 0}
  if lost:
    how["log_every"] = 3
  with pytest.raises(OSError, match="the disk is gone"):
    kd_jax.train(method, workdir=tmp_path, quiet=True, **how)
  lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  steps = [r["step"] for r in rows if r["kind"] == "train"]
  assert steps == ([] if lost else [1, 2, 3])
