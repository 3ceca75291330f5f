"""The benchmark's rows: training steps and filtered evaluation, beside peers.

A step is a pair of optimizer steps: a batch that asks for tails, one for heads.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from kd_jax import experiment
from kd_jax.datasets import graphs
from kd_jax.datasets.graphs import HEAD, RELATION, TAIL, Graph
from kd_jax.experiment import Case, Peer
from kd_jax.methods.ote import evaluation, inputs, peers, state, steps
from kd_jax.methods.ote import model as models
from kd_jax.methods.ote.arms import PRESETS, of_arm, stage_of
from kd_jax.methods.ote.config import Config, StageConfig
from kd_jax.methods.ote.model import SIDES

PYKEEN = "PyKEEN 1.11.1"
COMPILED = "plain PyTorch, compiled"
# Entities, relations, triples of FB15k-237.
_LARGE = (14_541, 237, 272_115)


def train_case(arm: str, preset: str, make: Callable[[], Graph]):
  """A training step from fresh parameters.

  Args:
    arm: which arm; one with context starts without a base.
    preset: its configuration.
    make: gives the graph.

  Returns:
    The phase to time.
  """
  config, stage = _of(arm, preset)
  graph = make()
  sizes = inputs.sizes(graph)

  def init(products, seed):
    del products
    return state.create_state(
      config, stage, seed, sizes.entities, sizes.relations
    )

  return experiment.Phase(
    name="step",
    init=init,
    step=steps.make_train_step(config, stage, sizes),
    steps=1,
    data=inputs.training(graph, config),
    batch_size=2 * stage.batch_size,
  )


def evaluation_case(arm: str, preset: str, make: Callable[[], Graph]):
  """A filtered evaluation of both sides of the test triples.

  Args:
    arm: which arm.
    preset: its configuration.
    make: gives the graph.

  Returns:
    The phase to time; its examples are triples.
  """
  config, stage = _of(arm, preset)
  config = dataclasses.replace(config, keep="last")
  graph = make()
  count, relations = len(graph.entities), len(graph.relations)
  measure = evaluation.make_evaluation(config, stage.margin, count)

  def init(products, seed):
    del products
    return state.create_state(config, stage, seed, count, relations)

  def step(carried, data, *, axis_name=None):
    product = {"params": carried.params}
    return carried, measure(product, data, axis_name=axis_name)

  return experiment.Phase(
    name="evaluation",
    init=init,
    step=step,
    steps=1,
    data={
      "questions": inputs.questions(graph, graph.test),
      "edges": inputs.edges(graph, config),
    },
    # In a loop the compiler would rank the same triples once.
    fused=False,
    batch_size=len(graph.test),
  )


def train_flops(arm: str, preset: str, make: Callable[[], Graph]) -> float:
  """Model operations of a pair of steps, forward and (twice as many) back.

  Per step: Gram-Schmidt 2 k^3 a block; 2 k a number that a block acts on; 3 a
  number that is compared. Context acts on one row per distinct pair of a
  neighbour and a relation, adds 2 a number of every edge's message (4 with
  attention), and compares four times.

  Args:
    arm: which arm.
    preset: its configuration.
    make: gives the graph.

  Returns:
    Floating point operations; drawing and the optimizer are not counted.
  """
  config, stage = _of(arm, preset)
  graph, model = make(), config.model
  k, d = models.block_size(model), model.width
  rows = stage.batch_size * (1 + stage.negatives)
  total = 2 * k * d * stage.batch_size + 3 * d * rows
  if model.name == "ote":
    total += 2 * k**2 * d * len(graph.relations)
  if model.context != "none":
    pairs = sum(
      len(np.unique(graph.train[:, [column, RELATION]], axis=0))
      for column in (HEAD, TAIL)
    )
    each = 4 if model.context == "gat_dummy" else 2
    total += 2 * k * d * (pairs + 2 * stage.batch_size)
    total += 2 * each * d * len(graph.train) + 3 * 3 * d * rows
  return 3.0 * 2 * total


def evaluation_flops(arm: str, preset: str, make: Callable[[], Graph]) -> float:
  """Model operations of an evaluation: every entity compared, on both sides.

  Args:
    arm: which arm; without context.
    preset: its configuration.
    make: gives the graph.

  Returns:
    Floating point operations.
  """
  config, _ = _of(arm, preset)
  graph, d = make(), config.model.width
  k = models.block_size(config.model)
  per_question = 2 * k * d + 3 * d * len(graph.entities)
  return float(len(SIDES) * len(graph.test) * per_question)


@functools.cache
def kinships() -> Graph:
  """Kinships."""
  return graphs.load("kinships")


@functools.cache
def large() -> Graph:
  """A random graph of the size of FB15k-237, its degrees as uneven."""
  entities, relations, count = _LARGE
  rng = np.random.default_rng(0)
  # Zipf-like: the busiest entity has a share of about 2 % of all places.
  weights = 1 / (np.arange(entities) + 5.0) ** 0.75
  weights /= weights.sum()
  split = {}
  for name, n in (("train", count), ("valid", 100), ("test", 128)):
    ends = rng.choice(entities, (n, 2), p=weights)
    relation = rng.integers(relations, size=n)
    columns = [ends[:, 0], relation, ends[:, 1]]
    split[name] = np.stack(columns, 1).astype(np.int32)
  return Graph(
    "as large as FB15k-237",
    tuple(f"e{i}" for i in range(entities)),
    tuple(f"r{i}" for i in range(relations)),
    **split,
  )


def _of(arm: str, preset: str) -> tuple[Config, StageConfig]:
  config = of_arm(PRESETS[preset], arm)
  if preset == "fb15k237":
    # The paper's width and batches for every arm, so that rows compare.
    config = of_arm(dataclasses.replace(PRESETS[preset], own=()), arm)
  return config, stage_of(config, arm)


def _peers(arm, preset, make) -> list[Peer]:
  config, stage = _of(arm, preset)

  def compiled():
    return peers.torch_training(config, stage, make())

  def pykeen():
    return peers.pykeen_training(config, stage, make())

  found = [Peer(COMPILED, compiled)]
  return [Peer(PYKEEN, pykeen), *found] if arm == "rotate" else found


def _train(name, arm, preset, make, *, with_peers=True, accelerator=False):
  about = arm, preset, make
  return Case(
    name=name,
    make=functools.partial(train_case, *about),
    flops=functools.partial(train_flops, *about),
    accelerator=accelerator,
    peers=_peers(*about) if with_peers else (),
  )


def _evaluate(name, arm, preset, make, queries=0):
  about = arm, preset, make
  config, _ = _of(arm, preset)

  def pykeen():
    return peers.pykeen_evaluation(config, make(), queries)

  return Case(
    name=name,
    make=functools.partial(evaluation_case, *about),
    flops=functools.partial(evaluation_flops, *about),
    peers=[Peer(PYKEEN, pykeen)] if queries else (),
  )


CASES = (
  _train("RotatE step, Kinships, d 64", "rotate", "small", kinships),
  _train("OTE step, Kinships, d 64, K 8", "ote", "small", kinships),
  _train(
    "GC-OTE step, Kinships, d 64, K 8",
    "gc_ote",
    "small",
    kinships,
    with_peers=False,
  ),
  _evaluate(
    "filtered evaluation, RotatE, Kinships", "rotate", "small", kinships, 1024
  ),
  _train("RotatE step, as FB15k-237, d 400", "rotate", "fb15k237", large),
  _train("OTE step, as FB15k-237, d 400, K 20", "ote", "fb15k237", large),
  _evaluate(
    # PyKEEN takes most of a minute for one.
    "filtered evaluation, RotatE, as FB15k-237, d 400",
    "rotate",
    "fb15k237",
    large,
  ),
  _train(
    "GC-OTE step, as FB15k-237, d 400, K 20",
    "gc_ote",
    "fb15k237",
    large,
    with_peers=False,
    accelerator=True,
  ),
)
