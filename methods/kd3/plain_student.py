"""The same step and selection in plain PyTorch, timed beside ours.

Written as one would write them there: modules, autograd, SGD with momentum, no
compilation. Modules have the names of ours, so that our parameters fit
(`load`), which is how the tests know that both compute the same.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from kd_jax.methods.kd3.config import Config, NetConfig
from kd_jax.methods.kd3.selection import alpha

Run = Callable[[int], None]
_RESNETS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}


def _conv(inputs, outputs, size, stride=1):
  return nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)


class SmallCNN(nn.Module):
  """`backbones.SmallCNN`: gives the map, its mean and the logits."""

  def __init__(self, channels: int, classes: int, net: NetConfig):
    super().__init__()
    self.depth = len(net.widths)
    for i, (width, stride) in enumerate(
      zip(net.widths, net.strides, strict=True)
    ):
      self.add_module(f"conv_{i}", _conv(channels, width, 3, stride))
      self.add_module(f"norm_{i}", nn.BatchNorm2d(width))
      channels = width
    self.head = nn.Linear(channels, classes)

  def forward(self, x):
    """Applies the network."""
    for i in range(self.depth):
      x = getattr(self, f"norm_{i}")(getattr(self, f"conv_{i}")(x)).relu()
    pooled = x.mean((2, 3))
    return x, pooled, self.head(pooled)


class _Block(nn.Module):
  def __init__(self, inputs: int, width: int, stride: int):
    super().__init__()
    self.conv_0, self.norm_0 = (
      _conv(inputs, width, 3, stride),
      nn.BatchNorm2d(width),
    )
    self.conv_1, self.norm_1 = _conv(width, width, 3), nn.BatchNorm2d(width)
    self.projected = stride != 1 or inputs != width
    if self.projected:
      self.conv_proj = _conv(inputs, width, 1, stride)
      self.norm_proj = nn.BatchNorm2d(width)

  def forward(self, x):
    y = self.norm_1(self.conv_1(self.norm_0(self.conv_0(x)).relu()))
    if self.projected:
      x = self.norm_proj(self.conv_proj(x))
    return (x + y).relu()


class ResNet(nn.Module):
  """`backbones.ResNet` for 32x32: gives the map, its mean and the logits."""

  def __init__(self, channels: int, classes: int, blocks: tuple[int, ...]):
    super().__init__()
    self.conv_init, self.norm_init = _conv(channels, 64, 3), nn.BatchNorm2d(64)
    self.names, channels = [], 64
    for i, count in enumerate(blocks):
      for j in range(count):
        stride = 2 if i and not j else 1
        self.names.append(f"stage_{i}_block_{j}")
        self.add_module(self.names[-1], _Block(channels, 64 * 2**i, stride))
        channels = 64 * 2**i
    self.head = nn.Linear(channels, classes)

  def forward(self, x):
    """Applies the network."""
    x = self.norm_init(self.conv_init(x)).relu()
    for name in self.names:
      x = getattr(self, name)(x)
    pooled = x.mean((2, 3))
    return x, pooled, self.head(pooled)


class Projector(nn.Module):
  """`model.Projector`."""

  def __init__(self, inputs: int, channels: int, factor: int):
    super().__init__()
    inner = channels // factor
    for i, (a, b, size) in enumerate(
      ((inputs, inner, 1), (inner, inner, 3), (inner, channels, 1))
    ):
      self.add_module(f"conv_{i}", _conv(a, b, size))
      self.add_module(f"norm_{i}", nn.BatchNorm2d(b))

  def forward(self, x):
    """Projects."""
    for i in range(3):
      x = getattr(self, f"norm_{i}")(getattr(self, f"conv_{i}")(x)).relu()
    return x


class Pair(nn.Module):
  """A teacher, and a student with projector and embeddings."""

  def __init__(self, config: Config, channels: int, classes: int):
    super().__init__()
    self.config = config
    self.teacher = _network(config.teacher, channels, classes)
    self.backbone = _network(config.student, channels, classes)
    out = self.teacher.head.in_features
    own, width = self.backbone.head.in_features, config.loss.embedding
    self.projector = Projector(own, out, config.loss.projector_factor)
    self.embed_student = nn.Linear(own, width)
    self.embed_teacher = nn.Linear(out, width)

  def train(self, mode: bool = True):
    """The teacher always evaluates."""
    super().train(mode)
    self.teacher.eval()
    return self

  def loss(self, x: torch.Tensor, mixed: torch.Tensor):
    """L_fa and the two halves of L_mix, of normalised images (b, c, h, w)."""
    map_s, pooled_s, _ = self.backbone(x)
    _, mixed_s, _ = self.backbone(mixed)
    with torch.no_grad():
      found = self.teacher(torch.cat([x, mixed]))
      (map_t, _), (pooled_t, mixed_t), (z_t, _) = (f.chunk(2) for f in found)
    projected = self.projector(_fit(map_s, map_t))
    z_s = self.teacher.head(projected.mean((2, 3)))
    with torch.no_grad():
      weight = (z_s - z_t + 1e-6).norm(dim=1).sigmoid()
    squared = (projected - _fit(map_t, projected)).square().mean((1, 2, 3))
    t = self.config.loss.temperature
    contrasts = [
      _contrast(embed(a), embed(b), t)
      for embed, a, b in (
        (self.embed_student, pooled_s, mixed_s),
        (self.embed_teacher, pooled_t, mixed_t),
      )
    ]
    return (weight * squared).mean(), *contrasts

  def scores(self, x: torch.Tensor, weight: float):
    """Confidence and class of the blended logits."""
    map_t, _, z_t = self.teacher(x)
    projected = self.projector(_fit(self.backbone(x)[0], map_t))
    z_s = self.teacher.head(projected.mean((2, 3)))
    return (weight * z_t + (1 - weight) * z_s).softmax(1).max(1)


def _network(net: NetConfig, channels: int, classes: int) -> nn.Module:
  if net.name == "small_cnn":
    return SmallCNN(channels, classes, net)
  return ResNet(channels, classes, _RESNETS[net.name])


def _fit(x, like):
  """At most as large a map."""
  size = tuple(map(min, zip(x.shape[2:], like.shape[2:], strict=True)))
  return x if size == x.shape[2:] else functional.adaptive_avg_pool2d(x, size)


def _contrast(a, b, temperature):
  u = functional.normalize(torch.cat([a, b]))
  logits = (u @ u.T / temperature).fill_diagonal_(-torch.inf)
  n = len(a)
  partner = torch.arange(2 * n).roll(n)
  return functional.cross_entropy(logits, partner)


def mix(x: torch.Tensor, lam: torch.Tensor, partner: torch.Tensor):
  """MixDistribution, with the draws given."""
  mean = x.mean((2, 3), keepdim=True)
  std = (x.var((2, 3), keepdim=True) + 1e-6).sqrt()
  lam = lam[:, None, None, None]
  new_std = lam * std + (1 - lam) * std[partner]
  new_mean = lam * mean + (1 - lam) * mean[partner]
  return (x - mean) / std * new_std + new_mean


def load(module: nn.Module, variables: Mapping[str, Any]) -> None:
  """Fills a module with our variables of the same names.

  Args:
    module: one of this file's.
    variables: "params" and "batch_stats".
  """
  leaves = {"kernel": "weight", "scale": "weight", "bias": "bias"}
  leaves |= {"mean": "running_mean", "var": "running_var"}

  def fill(module, tree):
    for name, value in tree.items():
      if isinstance(value, Mapping):
        # A flax Dense stands inside of an embedding.
        fill(module if name == "Dense_0" else getattr(module, name), value)
        continue
      array = np.array(value)
      array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
      getattr(module, leaves[name]).data.copy_(torch.from_numpy(array.copy()))

  fill(module, variables["params"])
  fill(module, variables.get("batch_stats", {}))


def _normal(config: Config, images: torch.Tensor) -> torch.Tensor:
  """Bytes (b, c, h, w) to normalised pixels."""
  data = config.data
  mean, std = (torch.tensor(s)[:, None, None] for s in (data.mean, data.std))
  return (images.float() / 255 - mean) / std


def _shifted(x: torch.Tensor, m: int) -> torch.Tensor:
  """Images shifted at random by up to m pixels."""
  b, _, h, w = x.shape
  padded = functional.pad(x, (m, m, m, m))
  y, z = torch.randint(0, 2 * m + 1, (2, b))
  rows = y[:, None] + torch.arange(h)
  columns = z[:, None] + torch.arange(w)
  at = torch.arange(b)[:, None, None]
  return padded.permute(0, 2, 3, 1)[
    at, rows[:, :, None], columns[:, None]
  ].permute(0, 3, 1, 2)


def training(
  config: Config, shape: tuple[int, ...], classes: int, images: int
) -> Run:
  """Training steps.

  Args:
    config: the configuration.
    shape: of an image, (h, w, c).
    classes: C.
    images: how many random ones there are to draw from.

  Returns:
    `run(n)`.
  """
  pair = Pair(config, shape[2], classes).train()
  pool = torch.randint(0, 256, (images, shape[2], *shape[:2])).byte()
  trained = [p for k, p in pair.named_parameters() if not k.startswith("tea")]
  sgd = torch.optim.SGD(
    trained,
    config.optim.learning_rate,
    config.optim.momentum,
    weight_decay=config.optim.weight_decay,
  )
  beta = torch.distributions.Beta(*[config.loss.mix_concentration] * 2)
  b = config.batch_size

  def run(n: int) -> None:
    for _ in range(n):
      x = _normal(config, pool[torch.randint(0, images, (b,))])
      x = _shifted(x, config.data.max_shift)
      mixed = mix(x, beta.sample((b,)), torch.randperm(b))
      aligned, student, teacher = pair.loss(x, mixed)
      sgd.zero_grad()
      (aligned + config.loss.mix_weight * (student + teacher)).backward()
      sgd.step()

  return run


def selecting(
  config: Config, shape: tuple[int, ...], classes: int, images: int
) -> Run:
  """Selections over a pool.

  Args:
    config: the configuration.
    shape: of an image, (h, w, c).
    classes: C.
    images: how many there are.

  Returns:
    `run(n)`.
  """
  pair = Pair(config, shape[2], classes).eval()
  pool = torch.randint(0, 256, (images, shape[2], *shape[:2])).byte()
  weight = float(alpha(np.int32(1), config.epochs))

  def run(n: int) -> None:
    for _ in range(n):
      with torch.inference_mode():
        found = []
        for part in pool.split(config.score_batch_size):
          x = _normal(config, part)
          if config.select.augment:
            x = _shifted(x, config.data.max_shift)
          found.append(pair.scores(x, weight))
        confidence, predicted = map(
          torch.cat, zip(*((f.values, f.indices) for f in found), strict=True)
        )
        counts = predicted.bincount(minlength=classes)
        share = counts / counts.max()
        tau = config.select.p_cutoff * share / (2 - share)
        torch.nonzero(confidence > tau[predicted])

  return run
