"""From a configuration to what a member is trained with."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kd_jax.methods.hyper_ensembles import networks, residual
from kd_jax.methods.hyper_ensembles.config import Config
from kd_jax.methods.hyper_ensembles.networks import Kit
from kd_jax.methods.hyper_ensembles.space import Fixed, Space

# Networks that are trained at once on one device; the others follow them.
_TOGETHER = {"mlp": 4096, "lenet": 16, "resnet20": 4, "wrn28_10": 1}
# And in how many parts a CPU takes them: products of an mlp are too small for
# all cores.
_SIDE_BY_SIDE = {"mlp": 2}
# L2 groups, and layers with dropout before them.
_PARTS = {"lenet": (5, 5), "resnet20": (6, 0), "wrn28_10": (6, 0)}


@dataclasses.dataclass(frozen=True)
class Plan:
  """What does not change while a member is trained.

  Attributes:
    config: the configuration.
    kind: "single", "batch", "hyper" or "stn".
    classes: how many.
    images: how many are trained on: N.
    split: whether members are divided over the devices, or the rows of each.
  """

  config: Config
  kind: str
  classes: int
  images: int
  split: bool = True

  @property
  def members(self) -> int:
    """K of one network."""
    return self.config.members if self.kind in ("batch", "hyper") else 1

  @property
  def tuning(self) -> bool:
    """Whether bounds are tuned."""
    return self.kind in ("hyper", "stn") and self.config.hyper.tune

  @property
  def together(self) -> int:
    """How many networks are trained at once on one device."""
    return _TOGETHER[self.config.model]

  @property
  def parts(self) -> int:
    """How many parts of the networks a CPU takes side by side."""
    return _SIDE_BY_SIDE.get(self.config.model, 1)

  @property
  def steps(self) -> int:
    """Of one training."""
    longer = self.config.hyper.longer if self.kind in ("hyper", "stn") else 1
    return max(1, round(longer * self.config.steps))

  @property
  def rows(self) -> str:
    """Whether lambda differs over a batch; fixed ones do not."""
    return self.config.hyper.rows if self.aware else "batch"

  @property
  def aware(self) -> bool:
    """Whether the network knows its lambda."""
    return self.kind in ("hyper", "stn")

  @property
  def norm_l2(self) -> float:
    """L2 coefficient of batch norms, of the whole data set."""
    return (self.config.hyper if self.aware else self.config).norm_l2

  @functools.cached_property
  def space(self) -> Space:
    """The box of hyperparameters."""
    return space_of(self.config)

  @functools.cached_property
  def fixed(self) -> Fixed:
    """What is not tuned."""
    c = self.config
    return Fixed(
      *parts(c), c.l2, c.dropout, c.smoothing, symmetric=c.hyper.symmetric
    )

  @functools.cached_property
  def net(self) -> Any:
    """The network."""
    return network(self.config, self.kind, self.classes, not self.split)

  @functools.cached_property
  def tx(self) -> optax.GradientTransformation:
    """The optimizer of the weights."""
    return optimizer(self.config, self.kind, self.steps)

  @functools.cached_property
  def tuner(self) -> optax.GradientTransformation:
    """The optimizer of the bounds."""
    return optax.adam(self.config.hyper.rate)


def parts(config: Config) -> tuple[int, int]:
  """How many L2 groups a network has, and layers with dropout before them.

  Args:
    config: the configuration.

  Returns:
    The two numbers.
  """
  layers = len(config.widths) + 1
  return _PARTS.get(config.model, (layers, layers))


def space_of(config: Config) -> Space:
  """The box that a configuration's hyperparameters live in.

  Args:
    config: the configuration.

  Returns:
    The box: L2 of each group, dropout before each layer, smoothing.
  """
  groups, rates = parts(config)
  counts = {"l2": groups, "dropout": rates, "smoothing": 1}
  found = []
  for kind in ("l2", "dropout", "smoothing"):
    if kind in config.tuned:
      low, high = getattr(config, f"{kind}_range")
      names = (
        [kind]
        if kind == "smoothing"
        else [f"{kind}_{i}" for i in range(counts[kind])]
      )
      found += [(name, low, high) for name in names]
  names, low, high = zip(*found, strict=True)
  return Space(names, low, high)


def network(config: Config, kind: str, classes: int, gathered: bool) -> Any:
  """A network of a configuration.

  Args:
    config: the configuration.
    kind: "single", "batch", "hyper" or "stn".
    classes: how many logits.
    gathered: whether batch statistics are gathered over the devices.

  Returns:
    The module.
  """
  h = config.hyper
  kit = Kit(
    kind="hyper" if kind == "stn" else kind,
    members=config.members if kind in ("batch", "hyper") else 1,
    fast=kind != "stn",
    tied=h.tied,
    fast_init=h.fast_init if kind in ("hyper", "stn") else config.fast_init,
    regularize_fast=h.regularize_fast,
    embed_scale=h.embed_scale,
    embed_hidden=h.embed_hidden,
    dtype=jnp.dtype(config.dtype),
  )
  axis_name = "batch" if gathered else None
  if config.model == "mlp":
    return networks.Mlp(classes, kit, config.widths)
  if config.model == "lenet":
    return networks.LeNet(classes, kit)
  if config.model == "resnet20":
    return residual.ResNet(classes, kit, 3, 1, 1, axis_name)
  return residual.ResNet(classes, kit, axis_name=axis_name)


def optimizer(
  config: Config, kind: str, steps: int
) -> optax.GradientTransformation:
  """The weights' optimizer, slower for fast weights.

  Args:
    config: the configuration.
    kind: of the network: in batch ensembles all but kernels and norms is
      slower, in hyper-batch ensembles r, s, u and v.
    steps: of the training.

  Returns:
    The optimizer; its updates, not its gradients, are scaled, for Adam does not
    see a gradient's scale.
  """
  rates = schedule(config, steps)
  base = (
    optax.adam(rates)
    if config.optimizer == "adam"
    else optax.sgd(rates, momentum=0.9, nesterov=True)
  )
  if kind not in ("batch", "hyper") or config.fast_rate == 1:
    return base
  return optax.chain(base, _slower(config.fast_rate, kind))


def schedule(config: Config, steps: int) -> optax.Schedule:
  """The learning rate over steps.

  Args:
    config: the configuration.
    steps: of the training.

  Returns:
    The schedule.
  """
  rate = config.learning_rate
  if config.schedule == "cosine":
    found = optax.cosine_decay_schedule(rate, steps)
  else:
    at = {round(part * steps) - config.warmup: 0.2 for part in config.stairs}
    found = optax.piecewise_constant_schedule(rate, at)
  if not config.warmup:
    return found
  ramp = optax.linear_schedule(0.0, rate, config.warmup)
  return optax.join_schedules([ramp, found], [config.warmup])


def _slower(factor: float, kind: str) -> optax.GradientTransformation:
  """Scales the updates of fast weights."""

  def update(updates, state, params=None):
    del params
    scaled = jax.tree_util.tree_map_with_path(
      lambda path, x: factor * x if is_fast(path, kind) else x, updates
    )
    return scaled, state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def is_fast(path: tuple[Any, ...], kind: str) -> bool:
  """Whether a parameter is one of the fast ones.

  Args:
    path: of the parameter, layer and name last.
    kind: "batch" or "hyper".

  Returns:
    Whether its updates are scaled.
  """
  layer, name = (getattr(p, "key", "") for p in path[-2:])
  if "norm" in layer:
    return False
  if kind == "batch":
    return name != "kernel"
  return name in ("r", "s", "u", "v")
