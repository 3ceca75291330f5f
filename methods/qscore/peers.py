"""The score as most would write it, for the benchmark."""

from typing import Any

import numpy as np


def numpy_score(h: np.ndarray, chosen: np.ndarray, eps: float) -> Any:
  """Eq. 1 in NumPy, in float32.

  Args:
    h: representations (n, r).
    chosen: D.
    eps: the threshold.

  Returns:
    Scores (n).
  """
  h = h / np.maximum(np.linalg.norm(h, axis=1, keepdims=True), 1e-12)
  mu = h.mean(1, keepdims=True)
  taken = (h > mu + eps * h.std(1, keepdims=True)) & chosen
  count = taken.sum(1)
  return np.where(taken, h - mu, 0).sum(1) / np.maximum(count, 1)


def torch_score(h: Any, chosen: Any, eps: float) -> Any:
  """Eq. 1 in PyTorch.

  Args:
    h: representations (n, r), a tensor.
    chosen: D, a tensor of bools.
    eps: the threshold.

  Returns:
    Scores (n).
  """
  import torch

  h = torch.nn.functional.normalize(h, dim=1)
  mu = h.mean(1, keepdim=True)
  sigma = h.std(1, keepdim=True, correction=0)
  taken = (h > mu + eps * sigma) & chosen
  count = taken.sum(1)
  return torch.where(taken, h - mu, 0.0).sum(1) / count.clamp(min=1)
