"""The same work in other libraries, timed beside ours in one process.

PyKEEN trains RotatE and ranks by its own loops, on its own terms: it draws half
of a triple's negatives for each side, looks up and rotates every negative as a
whole triple, and draws none anew that is true. `plain_torch` does our work in
PyTorch.

A step of ours is a pair of optimizer steps, so that n steps are 2 n batches.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from kd_jax.datasets.graphs import Graph
from kd_jax.methods.ote.config import Config, StageConfig

Run = Callable[[int], None]


def pykeen_training(config: Config, stage: StageConfig, graph: Graph) -> Run:
  """PyKEEN's loop over RotatE ("slcwa", "nssa", "basic", as it calls them).

  Args:
    config: gives the width; PyKEEN counts complex numbers, half as many.
    stage: batch, negatives, margin, temperature and rate.
    graph: the triples.

  Returns:
    `run(n)`: 2 n batches in one epoch of its loop, its progress bars off.

  Raises:
    ImportError: if it is not installed.
  """
  torch = _torch()
  from pykeen.losses import NSSALoss
  from pykeen.training import SLCWATrainingLoop

  model, factory = _pykeen_model(
    config,
    graph,
    NSSALoss(margin=stage.margin, adversarial_temperature=stage.temperature),
  )
  loop = SLCWATrainingLoop(
    model=model,
    triples_factory=factory(graph.train),
    optimizer=torch.optim.Adam(model.parameters(), lr=stage.learning_rate),
    negative_sampler="basic",
    negative_sampler_kwargs={"num_negs_per_pos": stage.negatives},
  )
  epochs = 0

  def run(n):
    nonlocal epochs
    # An epoch costs it most of a second besides its batches: the triples are
    # repeated until one epoch holds all of them, to its advantage.
    rows = np.resize(np.arange(len(graph.train)), 2 * n * stage.batch_size)
    epochs += 1  # It counts from the start of training, not of the call.
    loop.train(
      factory(graph.train[rows]),
      num_epochs=epochs,
      batch_size=stage.batch_size,
      use_tqdm=False,
    )

  return run


def pykeen_evaluation(config: Config, graph: Graph, queries: int) -> Run:
  """PyKEEN's filtered evaluation of RotatE on the test triples, both sides.

  Args:
    config: gives the width.
    graph: the triples.
    queries: how many it ranks at a time.

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

  def factory(triples):
    return CoreTriplesFactory(
      torch.as_tensor(triples, dtype=torch.long),
      num_entities=len(graph.entities),
      num_relations=len(graph.relations),
    )

  model = RotatE(
    triples_factory=factory(graph.train),
    embedding_dim=config.model.width // 2,
    loss=loss,
    random_seed=0,
  )
  return model, factory


def _torch() -> Any:
  """PyTorch with as many threads as our programs have."""
  import torch

  torch.set_num_threads(len(os.sched_getaffinity(0)))
  return torch
