"""What the benchmark times us against, in the same process."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Run = Callable[[int], None]


def torch_pruning(
  widths: tuple[int, ...],
  strides: tuple[int, ...],
  removed: Mapping[int, np.ndarray],
  batch: int,
  size: int,
) -> Run:
  """The same network cut by Torch-Pruning at the same channels, in PyTorch.

  Args:
    widths: channels of the layers.
    strides: their strides.
    removed: by layer, the channels to remove.
    batch: images.
    size: height and width of one, of three channels.

  Returns:
    Runs n forward passes.

  Raises:
    ImportError: if either is not installed.
  """
  import torch
  import torch_pruning as tp
  from torch import nn

  layers: list[Any] = []
  inputs = 3
  for width, stride in zip(widths, strides, strict=True):
    layers.append(nn.Conv2d(inputs, width, 3, stride, 1, bias=False))
    layers += [nn.BatchNorm2d(width), nn.ReLU()]
    inputs = width
  layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10)]
  net = nn.Sequential(*layers).eval()
  x = torch.randn(batch, 3, size, size)
  graph = tp.DependencyGraph().build_dependency(net, x[:1])
  convs = [m for m in net if isinstance(m, nn.Conv2d)]
  for layer, channels in removed.items():
    cut = tp.prune_conv_out_channels
    graph.get_pruning_group(
      convs[layer], cut, idxs=[int(c) for c in channels]
    ).prune()

  def run(n):
    with torch.inference_mode():
      for _ in range(n):
        net(x)

  return run


def tensorly_tucker(w: np.ndarray, ranks: tuple[int, int], sweeps: int) -> Run:
  """Tensorly's partial Tucker decomposition (NumPy) of the channel modes.

  Args:
    w: a kernel (d, d, S, T).
    ranks: R3 and R4.
    sweeps: its iterations; none is cut short.

  Returns:
    Runs n decompositions.

  Raises:
    ImportError: if it is not installed.
  """
  from tensorly.decomposition import partial_tucker

  def run(n):
    for _ in range(n):
      partial_tucker(
        w, rank=list(ranks), modes=[2, 3], n_iter_max=sweeps, tol=0
      )

  return run


def tensorly_cp(w: np.ndarray, rank: int, sweeps: int) -> Run:
  """Tensorly's CP by alternating least squares (NumPy), one random start.

  Args:
    w: a kernel.
    rank: R.
    sweeps: its iterations.

  Returns:
    Runs n decompositions.

  Raises:
    ImportError: if it is not installed.
  """
  from tensorly.decomposition import parafac

  def run(n):
    for seed in range(n):
      parafac(
        w, rank, n_iter_max=sweeps, init="random", tol=0, random_state=seed
      )

  return run


def scikit_kmeans(w: np.ndarray, k: int, iterations: int) -> Run:
  """scikit-learn's k-means of the same weights from the same start.

  Args:
    w: weights that are not zero.
    k: centroids.
    iterations: of Lloyd, none cut short.

  Returns:
    Runs n clusterings.
  """
  from sklearn.cluster import KMeans

  first = np.linspace(w.min(), w.max(), k, dtype=w.dtype)[:, None]

  def run(n):
    for _ in range(n):
      KMeans(k, init=first, n_init=1, max_iter=iterations, tol=0).fit(
        w[:, None]
      )

  return run
