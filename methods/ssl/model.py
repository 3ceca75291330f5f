"""Encoder, heads and prototypes, and how views go through them.

Letters: x a view, h the representation, z the projection, p the prediction, C
prototypes; v views, b batch, r, d, k their lengths.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from kd_jax import backbones
from kd_jax.losses.norms import l2_normalize
from kd_jax.methods.ssl import heads
from kd_jax.methods.ssl.config import Config, NetConfig, Settings
from kd_jax.methods.ssl.learners import Learner, Seen

PyTree = Any


def encoder(
  net: NetConfig,
  classes: int,
  axis_name: str | None = None,
  dtype: str = "float32",
) -> nn.Module:
  """The backbone; its own classifier is the online probe.

  Args:
    net: which.
    classes: how many there are; 0 without labels.
    axis_name: the axis that batch statistics are gathered over, or None.
    dtype: of the activations.

  Returns:
    The module.
  """
  fields: dict[str, Any] = {"axis_name": axis_name, "dtype": jnp.dtype(dtype)}
  if net.name == "small_cnn":
    fields |= {"widths": net.widths, "strides": net.strides}
  return backbones.create(net.name, max(classes, 1), **fields)


def length(net: NetConfig) -> int:
  """The representation's length, r."""
  if net.name == "small_cnn":
    return net.widths[-1]
  return _channels(net.name, backbones.NAMES[net.name])


@functools.cache
def _channels(name, make):
  """Found out once for each network, of one's own too."""
  del make
  return backbones.channels(name)


def width(config: Config, settings: Settings) -> int:
  """The projection's length, d."""
  return heads.width(settings.projector, length(config.net))


def predicted(config: Config, settings: Settings) -> int:
  """The prediction's length, which must be d."""
  return heads.width(settings.predictor, width(config, settings))


class Network(nn.Module):
  """An encoder with what is thrown away after training.

  Attributes:
    backbone: the encoder.
    projector: its head, to z.
    predictor: from z to p, or None.
    prototypes: how many; 0 is none.
    normalise: whether prototypes are divided by their lengths here, and
      gradients go through it.
    d: the length of z.
  """

  backbone: nn.Module
  projector: nn.Module
  predictor: nn.Module | None
  prototypes: int
  normalise: bool
  d: int

  def setup(self):
    """Draws the prototypes."""
    if self.prototypes:
      self.table = self.param(
        "prototypes", _unit_rows, (self.prototypes, self.d), jnp.float32
      )

  def __call__(
    self,
    x: Float[Array, "b h w c"],
    *,
    train: bool,
    where: Bool[Array, "b"] | None = None,
  ) -> Seen:
    """Applies all of it to a view.

    Args:
      x: images.
      train: normalise by the batch's statistics.
      where: the rows that enter them.

    Returns:
      What is seen.
    """
    found = self.backbone(x, train=train, where=where)
    z = self.projector(found.pooled, train=train, where=where)
    p = z
    if self.predictor is not None:
      p = self.predictor(z, train=train, where=where)
    scores = None
    if self.prototypes:
      # As exact as the queue's: they are divided by temperatures of .04.
      scores = jnp.matmul(
        l2_normalize(z), self.vectors().T, precision="highest"
      )
    return Seen(found.pooled, found.logits, z, p, scores)

  def vectors(self) -> Float[Array, "k d"]:
    """The prototypes, of unit length."""
    return l2_normalize(self.table) if self.normalise else self.table


def _unit_rows(key, shape, dtype):
  return l2_normalize(jax.random.normal(key, shape, dtype))


def network(
  config: Config,
  settings: Settings,
  learner: Learner,
  classes: int,
  *,
  slow: bool = False,
  axis_name: str | None = None,
) -> Network:
  """An arm's network.

  Args:
    config: the configuration.
    settings: the arm's.
    learner: the arm's.
    classes: how many.
    slow: the slow copy, which has no predictor.
    axis_name: the axis that batch statistics are gathered over, or None.

  Returns:
    The module.
  """
  r = length(config.net)
  d = width(config, settings)
  axis_name = None if settings.local_statistics else axis_name
  how = {"dtype": jnp.dtype(config.dtype), "axis_name": axis_name}
  predictor = None
  if settings.predictor and not slow:
    predictor = heads.Head(settings.predictor, d, **how)
  return Network(
    backbone=encoder(config.net, classes, axis_name, config.dtype),
    projector=heads.Head(settings.projector, r, **how),
    predictor=predictor,
    prototypes=settings.prototypes if learner.prototypes else 0,
    normalise=learner.prototypes == "weight_norm",
    d=d,
  )


def look(
  module: Network,
  variables: Mapping[str, PyTree],
  groups: Sequence[Float[Array, "v b h w c"]],
  *,
  joint: bool,
  where: Bool[Array, "b"] | None = None,
) -> tuple[tuple[Seen, ...], PyTree]:
  """Sends views through a network in training.

  Args:
    module: the network.
    variables: "params" and "batch_stats".
    groups: views of one size each.
    joint: whether a group is one batch, with common batch statistics; else one
      view after the other, with its own.
    where: the rows that count.

  Returns:
    What is seen of each view, in order, and the new running statistics.
  """

  def passes(net):
    seen = []
    for group in groups:
      if not joint:
        seen += [net(x, train=True, where=where) for x in group]
        continue
      v, b = group.shape[:2]
      every = None if where is None else jnp.tile(where, v)
      found = net(group.reshape(-1, *group.shape[2:]), train=True, where=every)
      seen += [
        jax.tree.map(lambda a, i=i, b=b: a[i * b : (i + 1) * b], found)
        for i in range(v)
      ]
    return tuple(seen)

  seen, moved = module.apply(variables, method=passes, mutable=["batch_stats"])
  return seen, moved["batch_stats"]
