"""The same work in other libraries, timed beside ours in one process.

PyKEEN trains RotatE and ranks by its own loops, on its own terms: it draws half
of a triple's negatives for each side, looks up and rotates every negative as a
whole triple, and draws none anew that is true. `plain_torch` does our work in
PyTorch.

A step of ours is a pair of optimizer steps, so that n steps are 2 n batches.
"""

import itertools
import logging
import os
from collections.abc import Callable
from typing import Any

from kd_jax.datasets.graphs import Graph
from kd_jax.methods.ote.config import Config, StageConfig

Run = Callable[[int], None]


def pykeen_training(config: Config, stage: StageConfig, graph: Graph) -> Run:
  """PyKEEN's training of RotatE ("slcwa", "nssa", "basic", as it calls them).

  Its loop's own batches and passes. What the loop adds around an epoch is left
  out, to its advantage: it collects garbage each time, most of a second beside
  the 34 batches of Kinships.

  Args:
    config: gives the width; PyKEEN counts complex numbers, half as many.
    stage: batch, negatives, margin, temperature and rate.
    graph: the triples.

  Returns:
    `run(n)`: 2 n batches.

  Raises:
    ImportError: if it is not installed.
  """
  torch = _torch()
  from pykeen.losses import NSSALoss
  from pykeen.training import SLCWATrainingLoop

  loss = NSSALoss(
    margin=stage.margin, adversarial_temperature=stage.temperature
  )
  model, factory = _pykeen_model(config, graph, loss)
  adam = torch.optim.Adam(model.parameters(), lr=stage.learning_rate)
  loop = SLCWATrainingLoop(
    model=model,
    triples_factory=factory,
    optimizer=adam,
    negative_sampler="basic",
    negative_sampler_kwargs={"num_negs_per_pos": stage.negatives},
  )
  loader = loop._create_training_data_loader(
    factory, sampler=None, batch_size=stage.batch_size, drop_last=True
  )
  batches = itertools.chain.from_iterable(itertools.repeat(loader))
  model.train()

  def run(n):
    for batch in itertools.islice(batches, 2 * n):
      adam.zero_grad(set_to_none=True)
      size = stage.batch_size
      loop._forward_pass(batch, 0, size, size, 0.0, None)
      adam.step()
      model.post_parameter_update()

  return run


def pykeen_evaluation(config: Config, graph: Graph, queries: int) -> Run:
  """PyKEEN's filtered evaluation of RotatE on the test triples, both sides.

  Args:
    config: gives the width.
    graph: the triples.
    queries: how many it ranks at a time; it is fastest with all of Kinships'.

  Returns:
    `run(n)`: n evaluations.

  Raises:
    ImportError: if it is not installed.
  """
  torch = _torch()
  from pykeen.evaluation import RankBasedEvaluator

  model, _ = _pykeen_model(config, graph, None)
  evaluator = RankBasedEvaluator(filtered=True)
  train, valid, test = (
    torch.as_tensor(t, dtype=torch.long) for t in graph.splits.values()
  )

  def run(n):
    for _ in range(n):
      evaluator.evaluate(
        model,
        test,
        batch_size=queries,
        additional_filter_triples=[train, valid],
        use_tqdm=False,
      )

  return run


def _pykeen_model(config, graph, loss):
  torch = _torch()
  from pykeen.models import RotatE
  from pykeen.triples import CoreTriplesFactory

  factory = CoreTriplesFactory(
    torch.as_tensor(graph.train, dtype=torch.long),
    num_entities=len(graph.entities),
    num_relations=len(graph.relations),
  )
  model = RotatE(
    triples_factory=factory,
    embedding_dim=config.model.width // 2,
    loss=loss,
    random_seed=0,
  )
  return model, factory


def _torch() -> Any:
  """PyTorch with as many threads as our programs have, and quiet peers."""
  import torch

  for name in ("pykeen", "torch_max_mem"):
    logging.getLogger(name).setLevel(logging.ERROR)
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  return torch


def torch_training(config: Config, stage: StageConfig, graph: Graph) -> Run:
  """Our step in plain PyTorch, compiled; see `plain_torch`.

  Args:
    config: "rotate" or "ote", without context.
    stage: batch, negatives, margin, temperature and rate.
    graph: the triples.

  Returns:
    `run(n)`: n pairs of steps.

  Raises:
    ImportError: if PyTorch is not installed.
  """
  _torch()
  from kd_jax.methods.ote import plain_torch

  return plain_torch.training(config, stage, graph)
