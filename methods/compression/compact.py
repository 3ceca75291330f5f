"""Scheme (c): filters that are transforms of fewer ones.

The survey's principle: T' Phi(x) = Phi(T x), a layer that commutes with a
transform makes its filters from a base set. Sources: Shang et al. 2016 (CReLU,
arXiv 1603.05201); Li et al. 2016 (multi-bias, arXiv 1604.00676); Zhai et al.
2016 (doubly convolutional networks, arXiv 1610.09716); Howard et al. 2017
(depthwise separable, arXiv 1704.04861). Group convolutions are in `groups`,
Fire modules in `hosts`, averaging in place of dense heads is `backbones.Head`.
"""

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax import backbones
from kd_jax.backbones.conv import kernel_uniform
from kd_jax.backbones.convolution import convolve
from kd_jax.methods.compression.groups import GroupConv, symmetry


def crelu(x: Float[Array, "*b c"]) -> Float[Array, "*b 2*c"]:
  """[ReLU(x), ReLU(-x)]: the convolution before it needs half the filters."""
  return jnp.concatenate([nn.relu(x), nn.relu(-x)], -1)


class MultiBias(nn.Module):
  """K biases of each map, side by side: T / K filters make T maps.

  Attributes:
    biases: K.
  """

  biases: int

  @nn.compact
  def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b d"]:
    """[ReLU(x + b_1), ..., ReLU(x + b_K)]."""
    shape = (self.biases, x.shape[-1])
    # Spread, or all K maps would begin and stay alike.
    bias = self.param("bias", nn.initializers.normal(1.0), shape)
    wide = (1,) * (x.ndim - 1) + (-1,)
    maps = [x + bias[k].reshape(wide) for k in range(self.biases)]
    return nn.relu(jnp.concatenate(maps, -1))


class DoublyConv(nn.Module):
  """Every z x z crop of a larger meta-filter is a filter.

  Attributes:
    features: T meta-filters.
    meta: z', their extent.
    size: z.
    pool: s: groups of s x s neighbouring crops are maximised; it divides
      z' - z + 1.
  """

  features: int
  meta: int
  size: int
  pool: int = 1

  @nn.compact
  def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
    """Convolves; ((z' - z + 1) / s)^2 T maps come out.

    Raises:
      ValueError: if s does not divide z' - z + 1.
    """
    n, t = self.meta - self.size + 1, self.features
    if n < 1 or n % self.pool:
      raise ValueError(f"{n} crops a side, in groups of {self.pool}")
    shape = (self.meta, self.meta, x.shape[-1], t)
    kernel = self.param("kernel", kernel_uniform, shape)
    y = convolve(x, crops(kernel, self.size))
    side = n // self.pool
    y = y.reshape(*y.shape[:3], side, self.pool, side, self.pool, t)
    return y.max((4, 6)).reshape(*y.shape[:3], side * side * t)


def crops(
  kernel: Float[Array, "m m c t"], size: int
) -> Float[Array, "z z c d"]:
  """All crops of meta-filters, row by row, as one kernel.

  Args:
    kernel: meta-filters.
    size: z.

  Returns:
    The kernel of (z' - z + 1)^2 T filters.
  """
  n = kernel.shape[0] - size + 1
  parts = [
    kernel[i : i + size, j : j + size] for i in range(n) for j in range(n)
  ]
  return jnp.concatenate(parts, -1)


class DepthwiseSeparable(nn.Module):
  """A d x d convolution of each channel, then a 1x1 across them.

  Each with a norm and a ReLU; 1 / T + 1 / d^2 of a convolution's products.

  Attributes:
    features: T.
    size: d.
    stride: of the depthwise one.
    axis_name: the axis that batch statistics are gathered over.
  """

  features: int
  size: int = 3
  stride: int = 1
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, x: Float[Array, "b h w c"], *, train: bool, where: Any = None
  ) -> Float[Array, "b h2 w2 t"]:
    """Applies the pair."""
    c, d = x.shape[-1], self.size
    layers = ((c, d, self.stride, c), (self.features, 1, 1, 1))
    for i, (width, size, stride, groups) in enumerate(layers):
      x = backbones.Conv(
        width,
        (size, size),
        stride,
        groups=groups,
        use_bias=False,
        name=f"conv_{i}",
      )(x)
      norm = backbones.BatchNorm(
        not train, axis_name=self.axis_name, name=f"norm_{i}"
      )
      x = nn.relu(norm(x, where))
    return x


KINDS = ("plain", "crelu", "mba", "dcnn", "p4", "p4m", "separable", "fire")


class CompactCNN(nn.Module):
  """Three layers of one kind, norms between, averaged and classified.

  The widths are maps that come out of a layer, whatever the kind makes of
  filters: so many maps cost fewer weights.

  Attributes:
    num_classes: how many logits.
    kind: one of KINDS.
    widths: maps of each layer.
    axis_name: the axis that batch statistics are gathered over.
  """

  num_classes: int
  kind: str = "plain"
  widths: tuple[int, ...] = (32, 64, 64)
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, x: Float[Array, "b h w c"], *, train: bool, where: Any = None
  ) -> backbones.Features:
    """Applies the network."""
    norm = functools.partial(
      backbones.BatchNorm, not train, axis_name=self.axis_name
    )
    for i, width in enumerate(self.widths):
      x = self._layer(x, width, i, norm, train, where)
      if i + 1 < len(self.widths):
        rest = x.shape[3:]
        flat = nn.max_pool(x.reshape(*x.shape[:3], -1), (2, 2), (2, 2))
        x = flat.reshape(*flat.shape[:3], *rest)
    if x.ndim == 5:  # Pooled over the group, then over space.
      x = x.max(3)
    return backbones.Head(self.num_classes, name="head")(x)

  def _layer(self, x, width, i, norm, train, where):
    conv = functools.partial(
      backbones.Conv, kernel_size=(3, 3), use_bias=False, name=f"conv_{i}"
    )
    name = f"norm_{i}"
    if self.kind in ("p4", "p4m"):
      order = symmetry(self.kind).order
      x = GroupConv(
        width // order, group=self.kind, use_bias=False, name=f"conv_{i}"
      )(x)
      return nn.relu(norm(name=name)(x, where))
    if self.kind == "separable":
      made = DepthwiseSeparable(
        width, axis_name=self.axis_name, name=f"pair_{i}"
      )
      return made(x, train=train, where=where)
    if self.kind == "fire":
      from kd_jax.methods.compression.hosts import Fire

      x = Fire(width // 8, width // 2, width // 2, name=f"fire_{i}")(x)
      return norm(name=name)(x, where)
    if self.kind == "dcnn":  # Four crops of each meta-filter, none pooled.
      x = DoublyConv(width // 4, 4, 3, name=f"conv_{i}")(x)
      return nn.relu(norm(name=name)(x, where))
    if self.kind == "crelu":
      return crelu(norm(name=name)(conv(width // 2)(x), where))
    if self.kind == "mba":
      x = norm(name=name)(conv(width // 2)(x), where)
      return MultiBias(2, name=f"bias_{i}")(x)
    return nn.relu(norm(name=name)(conv(width)(x), where))
