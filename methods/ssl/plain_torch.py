"""The steps of SimCLR, BYOL and VICReg in plain PyTorch, timed beside ours.

Written as one would write them there: modules, autograd, AdamW, batches of
views by one call each. Modules have the names of ours, so that our parameters
fit (`load`), which is how the tests know that both compute the same. Of views
there are those of digits: crops, brightness and contrast.
"""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from kd_jax.methods.ssl import heads, views
from kd_jax.methods.ssl.config import Config, Settings

Run = Callable[[int], None]
ARMS = ("simclr", "byol", "vicreg")


class Encoder(nn.Module):
  """`backbones.SmallCNN`: gives pooled features and logits."""

  def __init__(self, config: Config, channels: int, classes: int):
    super().__init__()
    net = config.net
    self.depth = len(net.widths)
    for i, (width, stride) in enumerate(
      zip(net.widths, net.strides, strict=True)
    ):
      self.add_module(
        f"conv_{i}", nn.Conv2d(channels, width, 3, stride, 1, bias=False)
      )
      self.add_module(f"norm_{i}", nn.BatchNorm2d(width))
      channels = width
    self.head = nn.Linear(channels, classes)

  def forward(self, x):
    """Applies the network."""
    for i in range(self.depth):
      x = getattr(self, f"norm_{i}")(getattr(self, f"conv_{i}")(x)).relu()
    return x.mean((2, 3))


class Head(nn.Module):
  """`heads.Head`, of layers with ReLU and batch norms, whole or bare."""

  def __init__(self, text: str, r: int):
    super().__init__()
    self.layers, inputs = heads.parse(text), r
    for i, (width, words) in enumerate(self.layers):
      self.add_module(
        f"dense_{i}", nn.Linear(inputs, width or r, bias="bias" in words)
      )
      if words & {"bn", "bn-"}:
        norm = nn.BatchNorm1d(width or r, affine="bn" in words)
        self.add_module(f"norm_{i}", norm)
      inputs = width or r
    self.width = inputs

  def forward(self, x):
    """Applies the layers."""
    for i, (_, words) in enumerate(self.layers):
      x = getattr(self, f"dense_{i}")(x)
      x = getattr(self, f"norm_{i}")(x) if words & {"bn", "bn-"} else x
      x = x.relu() if "relu" in words else x
    return x


class Network(nn.Module):
  """`model.Network`, without prototypes."""

  def __init__(
    self, config: Config, settings: Settings, channels: int, classes: int
  ):
    super().__init__()
    self.backbone = Encoder(config, channels, classes)
    self.projector = Head(settings.projector, config.net.widths[-1])
    self.predictor = None
    if settings.predictor:
      self.predictor = Head(settings.predictor, self.projector.width)

  def forward(self, x):
    """Representation, projection and prediction."""
    h = self.backbone(x)
    z = self.projector(h)
    return h, z, z if self.predictor is None else self.predictor(z)


def nt_xent(first, second, temperature: float):
  """SimCLR's loss, the mean over both views of all pairs."""
  z = functional.normalize(torch.cat([first, second]))
  logits = z @ z.T / temperature
  logits.fill_diagonal_(-math.inf)
  n = len(first)
  mates = torch.cat([torch.arange(n, 2 * n), torch.arange(n)])
  return functional.cross_entropy(logits, mates)


def byol(p, p2, z, z2):
  """BYOL's loss."""

  def away(a, b):
    return 2 - 2 * functional.cosine_similarity(a, b.detach())

  return (away(p, z2) + away(p2, z)).mean()


def vicreg(first, second, settings: Settings):
  """VICReg's loss."""
  n, d = first.shape
  total = settings.invariance * functional.mse_loss(first, second)
  for z in (first, second):
    z = z - z.mean(0)
    std = torch.sqrt(z.var(0) + 1e-4)
    total = total + settings.variance * (1 - std).relu().mean() / 2
    covariance = z.T @ z / (n - 1)
    apart = covariance - torch.diag(covariance.diag())
    total = total + settings.covariance * apart.square().sum() / d
  return total


def loss(arm: str, settings: Settings, network: Network, slow, views):
  """A method's loss, and the features that the probe beside learns from.

  Args:
    arm: one of ARMS.
    settings: the arm's.
    network: the online one.
    slow: BYOL's other one.
    views: two batches of images.

  Returns:
    The number, and h of both views.
  """
  if arm == "simclr":  # Both views are one batch, with its statistics.
    h, z, _ = network(torch.cat(views))
    return nt_xent(*z.chunk(2), settings.temperature), list(h.chunk(2))
  (h, z, p), (h2, z2, p2) = (network(view) for view in views)
  if arm == "vicreg":
    return vicreg(z, z2, settings), [h, h2]
  with torch.no_grad():
    targets = [slow(view)[1] for view in views]
  return byol(p, p2, *targets), [h, h2]


def load(module: nn.Module, variables: Mapping[str, Any]) -> None:
  """Copies our variables into a module.

  Args:
    module: a module of this file.
    variables: "params" and "batch_stats" of ours.
  """
  leaves = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
  }

  def fill(module, tree):
    for name, value in tree.items():
      if isinstance(value, Mapping):
        fill(getattr(module, name), value)
        continue
      array = np.array(value)
      array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
      getattr(module, leaves[name]).data.copy_(torch.from_numpy(array.copy()))

  fill(module, variables["params"])
  fill(module, variables.get("batch_stats", {}))


def view(
  config: Config, images: torch.Tensor, area, strength: float
) -> torch.Tensor:
  """A random view of each image: crop, brightness, contrast.

  Args:
    config: sizes, mean and std.
    images: bytes (b, 1, h, w).
    area: smallest and largest share that is cut out.
    strength: of the jitter, with probability .8.

  Returns:
    Normalised views.
  """
  b, _, h, _ = images.shape
  share = torch.empty(b).uniform_(*area)
  ratio = torch.exp(torch.empty(b).uniform_(math.log(3 / 4), math.log(4 / 3)))
  wide = (share * ratio).sqrt().clamp(max=1)
  tall = (share / ratio).sqrt().clamp(max=1)
  middle = [(torch.rand(b) * 2 - 1) * (1 - part) for part in (wide, tall)]
  theta = torch.zeros(b, 2, 3)
  theta[:, 0, 0], theta[:, 1, 1] = wide, tall
  theta[:, 0, 2], theta[:, 1, 2] = middle
  side = config.data.view_size or h
  grid = functional.affine_grid(theta, (b, 1, side, side), align_corners=False)
  x = functional.grid_sample(images.float() / 255, grid, align_corners=False)
  jittered = (torch.rand(b) < 0.8).float()[:, None, None, None]
  light, contrast = (
    1 + jittered * torch.empty(b, 1, 1, 1).uniform_(-strength, strength)
    for _ in range(2)
  )
  x = (x * light).clamp(0, 1)
  mean = x.mean((1, 2, 3), keepdim=True)
  x = (contrast * x + (1 - contrast) * mean).clamp(0, 1)
  return (x - config.data.mean[0]) / config.data.std[0]


def training(
  config: Config,
  settings: Settings,
  arm: str,
  shape: tuple[int, ...],
  classes: int,
  images: int,
) -> Run:
  """Training steps.

  Args:
    config: the configuration.
    settings: the arm's.
    arm: one of ARMS.
    shape: of an image, (h, w, 1).
    classes: how many labels there are.
    images: how many random ones there are to draw from.

  Returns:
    `run(n)`.
  """
  network = Network(config, settings, shape[2], classes).train()
  slow = copy.deepcopy(network) if arm == "byol" else None
  pool = torch.randint(0, 256, (images, shape[2], *shape[:2])).byte()
  label = torch.randint(0, classes, (images,))
  probe = list(network.backbone.head.parameters())
  rest = [p for p in network.parameters() if all(p is not q for q in probe)]
  adamw = torch.optim.AdamW(
    [
      {"params": [p for p in rest if p.ndim > 1]},
      {"params": [p for p in rest if p.ndim == 1], "weight_decay": 0},
    ],
    settings.learning_rate,
    weight_decay=settings.weight_decay,
  )
  adam = torch.optim.Adam(probe, config.probe.online_rate)
  seen, b = views.VIEWS[settings.views][0], config.batch_size

  def run(n: int) -> None:
    for _ in range(n):
      rows = torch.randint(0, images, (b,))
      both = [
        view(config, pool[rows], seen.area, seen.jitter[0]) for _ in range(2)
      ]
      total, features = loss(arm, settings, network, slow, both)
      for h in features:
        said = network.backbone.head(h.detach())
        total = total + functional.cross_entropy(said, label[rows]) / 2
      for optimizer in (adamw, adam):
        optimizer.zero_grad()
      total.backward()
      for optimizer in (adamw, adam):
        optimizer.step()
      if slow is not None:
        _follow(slow, network, settings.ema)

  return run


@torch.no_grad()
def _follow(slow, network, keep: float) -> None:
  """The slow network's parameters move; its statistics are its own."""
  for old, new in zip(slow.parameters(), network.parameters(), strict=True):
    old.lerp_(new, 1 - keep)
