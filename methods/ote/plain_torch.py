"""Our training step in plain PyTorch, compiled: what one would write by hand.

The same work: one side of each triple is kept and transformed once, negatives
are drawn among what is no training triple, the loss weighs hard negatives and
rare pairs, Adam is dense. Used by the benchmark alone.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from kd_jax.datasets.graphs import HEAD, TAIL, Graph
from kd_jax.methods.ote.config import Config, StageConfig

_TINY = 1e-12


def training(
  config: Config, stage: StageConfig, graph: Graph
) -> Callable[[int], None]:
  """Builds the training loop.

  Args:
    config: its model is "rotate", or "ote" with scale "exp"; no context.
    stage: batch, negatives, margin, temperature and rate.
    graph: the triples.

  Returns:
    `run(n)`: n pairs of optimizer steps, one for tails, one for heads.
  """
  torch.manual_seed(0)
  params = _params(config, stage, graph)
  adam = torch.optim.Adam(params, lr=stage.learning_rate, fused=True)
  sides = [_Side(graph, stage, kept, answer) for kept, answer in _COLUMNS]

  @torch.compile(dynamic=False)
  def loss_of(entity, relation, batch, known, tails):
    kept, r, answer, pair, first, count, weight = batch
    entities = len(graph.entities)
    negatives = _draw(stage, entities, pair, first, count, known)
    candidates = torch.cat([answer[:, None], negatives], 1)
    asked = _asked(config, entity[kept], relation, r, tails)
    gap = asked[:, None] - entity[candidates]
    squared = _block_sums(gap * gap, _size(config))
    score = stage.margin - (squared + _TINY).sqrt().sum(-1)
    against = score[:, 1:]
    hard = (stage.temperature * against.detach()).softmax(-1)
    links = torch.nn.functional.logsigmoid(score[:, 0]) + (
      hard * torch.nn.functional.logsigmoid(-against)
    ).sum(-1)
    return -(weight * links).sum() / (2 * weight.sum())

  def run(n):
    for _ in range(n):
      for side in sides:
        adam.zero_grad()
        tails = side is sides[0]
        loss = loss_of(
          params[0], params[1:], next(side.batches), side.known, tails
        )
        loss.backward()
        adam.step()

  return run


_COLUMNS = ((HEAD, TAIL), (TAIL, HEAD))


class _Side:
  """Shuffled batches that ask for one side, and the known answers."""

  def __init__(self, graph: Graph, stage: StageConfig, kept: int, answer: int):
    n, train = len(graph.entities), torch.as_tensor(graph.train).long()
    pair = train[:, kept] * len(graph.relations) + train[:, 1]
    keys = torch.sort(pair * n + train[:, answer])[0]
    first = torch.searchsorted(keys, pair * n)
    count = torch.searchsorted(keys, (pair + 1) * n) - first
    # Each answer minus how many answers of its question come before it.
    begins = torch.searchsorted(keys, keys // n * n)
    self.known = keys - (torch.arange(len(keys)) - begins)
    weight = torch.as_tensor(_weights(graph.train))
    columns = train[:, kept], train[:, 1], train[:, answer], pair
    columns += first, count, weight
    self.batches = self._batches(columns, stage.batch_size)

  def _batches(self, columns, size) -> Iterator[Any]:
    while True:
      order = torch.randperm(len(columns[0]))
      for rows in order.split(size):
        if len(rows) == size:
          yield tuple(c[rows] for c in columns)


def _weights(train: np.ndarray) -> np.ndarray:
  counts = 6
  for columns in ([0, 1], [1, 2]):
    _, pair, often = np.unique(
      train[:, columns], axis=0, return_inverse=True, return_counts=True
    )
    counts = counts + often[pair.reshape(-1)]
  return (1 / np.sqrt(counts)).astype(np.float32)


def _draw(stage, entities, pair, first, count, known):
  """Negatives: the u-th of the entities that are no known answers."""
  free = (entities - count)[:, None]
  u = (torch.rand(len(pair), stage.negatives) * free).long()
  before = torch.searchsorted(known, pair[:, None] * entities + u, right=True)
  return (u + before - first[:, None]).clamp(max=entities - 1)


def _size(config) -> int:
  return 2 if config.model.name == "rotate" else config.model.block


def _block_sums(x, size):
  """Sums over the coordinates of each block, slice by slice.

  A sum over that axis is not vectorised where blocks are few: the whole step
  takes 2.4 times as long on Kinships.
  """
  x = x.unflatten(-1, (size, -1))
  return sum(x[..., j, :] for j in range(size))


def _params(config, stage, graph) -> list[torch.nn.Parameter]:
  n, r, d = len(graph.entities), len(graph.relations), config.model.width
  k = _size(config)
  size = (stage.margin + 2) / d
  found = [torch.empty(n, d).uniform_(-size, size)]
  if config.model.name == "rotate":
    found.append(torch.empty(r, d // 2).uniform_(-np.pi, np.pi))
  else:
    found += [torch.rand(r, k, k, d // k), torch.zeros(r, k, d // k)]
  return [torch.nn.Parameter(x) for x in found]


def _asked(config, x, relation, r, tails):
  """Where the answers should be: the kept side, transformed once."""
  x = x.unflatten(-1, (_size(config), -1))
  if config.model.name == "rotate":
    angle = relation[0][r] if tails else -relation[0][r]
    c, s = angle.cos(), angle.sin()
    return torch.cat([x[:, 0] * c - x[:, 1] * s, x[:, 0] * s + x[:, 1] * c], -1)
  q, scale = _orthogonal(relation[0])[r], relation[1][r]
  x = x * (scale if tails else -scale).exp()
  q = q if tails else q.transpose(1, 2)
  return (x[:, :, None] * q).sum(1).flatten(1)


def _orthogonal(m):
  """Gram-Schmidt on the rows of (r, k, k, g), a row after the other."""
  done, rest = [], m
  for _ in range(m.shape[1]):
    row, rest = rest[:, :1], rest[:, 1:]
    done.append(row * ((row * row).sum(2, keepdim=True) + _TINY).rsqrt())
    rest = rest - (rest * done[-1]).sum(2, keepdim=True) * done[-1]
  return torch.cat(done, 1)
