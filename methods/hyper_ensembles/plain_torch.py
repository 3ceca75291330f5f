"""The same search in PyTorch, twice: a loop over networks, and all at once.

Nobody ships it. Both take our step: a batch of rows drawn at random, dropout
with a rate of each layer, cross-entropy, L2 of each layer, Adam with a cosine.
The loop is what one writes first; the other is `torch.func.vmap` over stacked
parameters, all of it (the optimizer too) under `torch.compile`.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

BETAS, EPSILON = (0.9, 0.999), 1e-8


def torch_of(*arrays: Any) -> list[Any]:
  """Arrays as tensors of the same type.

  Args:
    *arrays: NumPy's or JAX's.

  Returns:
    The tensors.
  """
  import torch

  return [torch.from_numpy(np.array(a)) for a in arrays]


class Problem:
  """What a search learns: images in rows, labels, and lambda of each network.

  Attributes:
    x: (n, inputs), float32.
    y: (n,), int64.
    lams: (networks, 2 layers): L2 of each layer, then rates.
    rate: Adam's first.
    steps: of a training: the cosine's length.
    batch: rows of a step.
  """

  def __init__(
    self,
    x: np.ndarray,
    y: np.ndarray,
    lams: np.ndarray,
    rate: float,
    steps: int,
    batch: int,
  ):
    import torch

    self.x = torch.from_numpy(np.array(x, np.float32))
    self.y = torch.from_numpy(np.array(y, np.int64))
    self.lams = torch.from_numpy(np.array(lams, np.float32))
    self.rate, self.steps, self.batch = rate, steps, batch

  def rate_at(self, step: int) -> float:
    """The cosine's value."""
    done = min(step, self.steps) / self.steps
    return self.rate * 0.5 * (1 + math.cos(math.pi * done))


class Loop:
  """One network after another, eagerly, as `torch.optim.Adam` has it."""

  def __init__(self, problem: Problem, widths: Sequence[int], networks: int):
    """Makes the networks.

    Args:
      problem: what is learned.
      widths: of the layers, inputs first and classes last.
      networks: how many.
    """
    import torch

    self.problem, self.step = problem, 0
    ends = list(itertools.pairwise(widths))
    self.nets = [
      [torch.nn.Linear(i, o) for i, o in ends] for _ in range(networks)
    ]
    self.optimizers = [
      torch.optim.Adam(
        [p for layer in net for p in layer.parameters()],
        problem.rate,
        BETAS,
        EPSILON,
      )
      for net in self.nets
    ]

  def run(self, n: int) -> None:
    """Takes n steps of each network, one training after the other.

    Args:
      n: how many.
    """
    import torch

    problem = self.problem
    for number in range(len(self.nets)):
      for i in range(n):
        rows = torch.randint(len(problem.x), (problem.batch,))
        self.take(number, rows, problem.rate_at(self.step + i))
    self.step += n

  def take(self, number: int, rows: Any, rate: float) -> None:
    """One step of one network.

    Args:
      number: which.
      rows: of the batch.
      rate: Adam's.
    """
    import torch
    import torch.nn.functional as F

    problem, net = self.problem, self.nets[number]
    lam = problem.lams[number].tolist()
    layers = len(net)
    h = problem.x[rows]
    for i, layer in enumerate(net):
      h = layer(F.dropout(h, lam[layers + i]))
      h = torch.relu(h) if i + 1 < layers else h
    loss = F.cross_entropy(h, problem.y[rows])
    for nu, layer in zip(lam, net, strict=False):
      squares = layer.weight.square().sum() + layer.bias.square().sum()
      loss = loss + nu / len(problem.x) * squares
    optimizer = self.optimizers[number]
    optimizer.param_groups[0]["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


class Together:
  """All networks at once: `torch.func.vmap`, compiled with the optimizer."""

  def __init__(
    self,
    problem: Problem,
    widths: Sequence[int],
    networks: int,
    *,
    compiled: bool = True,
  ):
    """Makes the networks.

    Args:
      problem: what is learned.
      widths: of the layers, inputs first and classes last.
      networks: how many.
      compiled: whether the step is compiled.
    """
    import torch

    self.problem, self.step, self.networks = problem, 0, networks
    self.params = []
    for i, o in itertools.pairwise(widths):
      self.params.append(torch.randn(networks, i, o) * math.sqrt(2 / i))
      self.params.append(torch.zeros(networks, o))
    self.first = [torch.zeros_like(p) for p in self.params]
    self.second = [torch.zeros_like(p) for p in self.params]
    self.update = torch.compile(self._update) if compiled else self._update

  def run(self, n: int) -> None:
    """Takes n steps of all networks.

    Args:
      n: how many.
    """
    import torch

    problem = self.problem
    for _ in range(n):
      rows = torch.randint(len(problem.x), (self.networks, problem.batch))
      self.take(rows)

  def take(self, rows: Any) -> None:
    """One step.

    Args:
      rows: of each network's batch.
    """
    import torch

    self.step += 1
    # Tensors, or each number would compile anew.
    numbers = torch.tensor(
      [
        self.problem.rate_at(self.step - 1),
        1 / (1 - BETAS[0] ** self.step),
        1 / (1 - BETAS[1] ** self.step),
      ]
    )
    with torch.no_grad():
      self.params, self.first, self.second = self.update(
        self.params, self.first, self.second, numbers, rows
      )

  def _update(self, params, first, second, numbers, rows):
    import torch
    from torch.func import grad, vmap

    problem = self.problem
    widths = [problem.x.shape[1], *(p.shape[1] for p in params[1:-1:2])]
    uniforms = [torch.rand(*rows.shape, w) for w in widths]
    of_loss = vmap(grad(self._loss), in_dims=(0, 0, 0, 0, 0))
    grads = of_loss(
      params, problem.x[rows], problem.y[rows], problem.lams, uniforms
    )
    new = ([], [], [])
    for p, m, v, g in zip(params, first, second, grads, strict=True):
      m = BETAS[0] * m + (1 - BETAS[0]) * g
      v = BETAS[1] * v + (1 - BETAS[1]) * g * g
      size = m * numbers[1] / ((v * numbers[2]).sqrt() + EPSILON)
      for kept, value in zip(new, (p - numbers[0] * size, m, v), strict=True):
        kept.append(value)
    return new

  def _loss(self, params, x, y, lam, uniforms):
    import torch
    import torch.nn.functional as F

    layers = len(params) // 2
    h, penalty = x, 0.0
    for i in range(layers):
      rate = lam[layers + i]
      h = torch.where(uniforms[i] >= rate, h / (1 - rate), 0.0)
      w, b = params[2 * i], params[2 * i + 1]
      h = h @ w + b
      h = torch.relu(h) if i + 1 < layers else h
      penalty = penalty + lam[i] * (w.square().sum() + b.square().sum())
    return F.cross_entropy(h, y) + penalty / len(self.problem.x)
