"""One arm: its pipeline as phases, each beginning where the last one ended.

A step that trains is a phase: its transform is made on what came before, the
transforms before it are frozen, and the optimizer's state carries them all. A
step that cuts shapes is called on the host, and what comes after is compiled
for the smaller network. The last phase writes the file, reads it, and measures
the network that was read (`packing`).
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import experiment
from kd_jax.errors import UsageError
from kd_jax.methods.compression import (
  kinds,
  pipeline,
  protocol,
  ranges,
  trees,
)
from kd_jax.methods.compression.config import Config
from kd_jax.methods.compression.data import Tables
from kd_jax.methods.compression.model import Model
from kd_jax.methods.compression.protocol import Transform
from kd_jax.methods.compression.training import NOTHING, training_phase

PyTree = Any


def arm_phases(
  config: Config,
  model: Model,
  steps: Sequence[pipeline.Step],
  found: Tables,
  arm: str,
  start: str,
) -> tuple[list[Any], Transform, str]:
  """The phases of a pipeline, up to the file.

  Args:
    config: the arm's configuration.
    model: the network.
    steps: its steps.
    found: the data.
    arm: its name.
    start: the key of the phase whose product it begins with.

  Returns:
    The phases, the scheme that is left (the shapes are cut by then), and the
    key of the last phase.

  Raises:
    UsageError: for a step that this network has nothing for.
  """
  shapes = model.shapes()
  order, params = model.order(shapes), shapes["params"]
  made: list[Any] = []
  done: list[Transform] = []
  for place, written in enumerate(steps):
    kind = kinds.KINDS[written.name]
    if kind.make is None:
      break
    length = _length(config, written) if kind.trains else 0
    context = kinds.context(model, shapes["params"], order, max(1, length))
    new = pipeline.build(written, context)
    params = _try(new, model, shapes, params)
    name = f"{place}_{written.name}"
    rate = float(written.options.get("rate", config.tune_rate))
    how = {"arm": arm, "rate": rate, "steps": length}
    if new.kind == "shape":
      for phase in _shape_phases(config, model, new, found, name, start, how):
        made.append(phase)
        start = phase.key
      continue
    scheme = protocol.chain(*[protocol.frozen(t) for t in done], new)
    begin = functools.partial(_begin, model, tuple(done), new, start)
    if length:
      made.append(
        training_phase(config, model, scheme, begin, found, name=name, **how)
      )
    else:
      made.append(experiment.WholeRun(name, _untrained(begin), arm=arm))
    done.append(new)
    start = made[-1].key
  return made, protocol.chain(*done), start


def _try(new, model, shapes, params):
  """The shapes after a step; refuses now what it would refuse hours later.

  A cut is not made here, so that what follows it is tried at the old shapes.
  """
  if new.name == "fold" and not ranges.foldable(model, shapes):
    raise UsageError("fold: no norm follows a layer of this network directly")
  if new.kind == "shape":
    jax.eval_shape(lambda p: new.regularise(p, p, {}), params)
    return params
  return jax.eval_shape(lambda p: new.init(jax.random.key(0), p)[0], params)


def _length(config, written):
  """How long a step of a pipeline trains."""
  times = written.options.get("times", 1)
  return written.options.get("steps", max(1, round(times * config.tune_steps)))


def _untrained(begin):
  def run(products, data, seed):
    del data
    variables, states = begin(products, seed)
    return {"variables": variables, "states": states}, {}

  return run


def _begin(model, done, new, start, products, seed):
  """The variables and states that a step of a pipeline begins with."""
  before = products[start]
  variables = dict(before["variables"])
  key = jax.random.fold_in(jax.random.key(seed), 100 + len(done))
  params, state = new.init(key, variables["params"])
  states = dict(before.get("states", {}))
  states[f"{len(done)}_{new.name}"] = state
  variables["params"] = protocol.chain(*done, new).constrain(params, states, 0)
  if new.name == "fresh" and "batch_stats" in variables:
    variables["batch_stats"] = _unused(variables["batch_stats"])
  if new.name == "int8full":
    variables["ranges"] = _ranges(model, new, variables)
  return variables, states


def _ranges(model, new, variables):
  """The collection of ranges, all zero."""

  def pass_(variables):
    view = {**variables, "params": new.project(variables["params"], {}, 0)}
    x = jnp.zeros((2, *model.image))
    return model.train({**view, "ranges": {}}, x, jax.random.key(0))[1]

  shapes = jax.eval_shape(pass_, variables)["ranges"]
  return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


def _shape_phases(config, model, new, found, name, start, how):
  """Training under the penalty, the cut, and tuning the smaller network."""
  phases = []

  def begin(start, products, seed):
    del seed
    return products[start]["variables"], {}

  if new.name == "slimming" and how["steps"]:
    first = functools.partial(begin, start)

    def penalised(products, seed):
      return first(products, seed)[0], {"0_slimming": {}}

    how_first = {**how, "name": f"{name}_penalty"}
    scheme = protocol.chain(new)
    phases.append(
      training_phase(config, model, scheme, penalised, found, **how_first)
    )
    start = phases[-1].key
  if new.rebuild is not None:
    phases.append(
      experiment.WholeRun(
        f"{name}_cut",
        functools.partial(_cut, new, start),
        arm=how["arm"],
        host=True,
      )
    )
    start = phases[-1].key
  if how["steps"]:
    tune = functools.partial(begin, start)
    phases.append(
      training_phase(config, model, NOTHING, tune, found, name=name, **how)
    )
  return phases


def _cut(new, start, products, data, seed):
  del data, seed
  variables = jax.device_get(products[start]["variables"])
  small, report = new.rebuild(variables)
  sizes = [sum(np.size(x) for x in jax.tree.leaves(v["params"])) for v in (
    variables, small
  )]  # fmt: skip
  return {"variables": small, "states": {}}, {
    "proof_gap": report["gap"],
    "cut_share": 1 - sizes[1] / sizes[0],
  }


def _unused(statistics):
  """Running statistics of a norm that has seen nothing."""
  return trees.unflatten(
    {
      path: jnp.full(np.shape(v), float(path.endswith("/var")))
      for path, v in trees.flatten(statistics).items()
    }
  )
