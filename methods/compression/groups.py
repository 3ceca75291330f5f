"""Scheme (c): convolutions that commute with turns and mirror images.

Source: Cohen and Welling 2016, arXiv 1602.07576
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kd_jax.backbones.conv import kernel_uniform
from kd_jax.backbones.convolution import convolve


class Symmetry(NamedTuple):
  """A finite group that acts on square images.

  Attributes:
    act: (element, image, its two axes) to the image moved.
    before: [g, h] is g^-1 h.
  """

  act: Callable[[int, Any, tuple[int, int]], Any]
  before: np.ndarray

  @property
  def order(self) -> int:
    """How many elements there are."""
    return len(self.before)


@functools.cache
def symmetry(name: str) -> Symmetry:
  """p4 (four turns) or p4m (turns and mirror images).

  Args:
    name: which.

  Returns:
    The group; its table is read off what the elements do to a square.
  """
  mirrored = {"p4": 1, "p4m": 2}[name]

  def act(g, x, axes):
    flip, turns = divmod(g, 4)
    xp = np if isinstance(x, np.ndarray) else jnp
    x = xp.flip(x, axes[1]) if flip else x
    return xp.rot90(x, turns, axes)

  square, n = np.arange(9).reshape(3, 3), 4 * mirrored
  moved = [act(g, square, (0, 1)).tobytes() for g in range(n)]
  table = np.zeros((n, n), int)
  for g in range(n):
    for h in range(n):
      # g k = h: the k that g moves to where h does.
      products = [act(g, act(k, square, (0, 1)), (0, 1)) for k in range(n)]
      table[g, h] = [p.tobytes() for p in products].index(moved[h])
  return Symmetry(act, table)


class GroupConv(nn.Module):
  """A convolution that commutes with turns (and mirror images).

  Images (b, h, w, c) are lifted; after that activations are (b, h, w, g, c), a
  map for each element. A turn of the image turns the maps and shifts g. T base
  filters give |G| T maps.

  Attributes:
    features: T.
    size: extent of the kernel, odd.
    group: "p4" or "p4m".
    use_bias: whether a bias, one of each base filter, is added.
  """

  features: int
  size: int = 3
  group: str = "p4"
  use_bias: bool = True

  @nn.compact
  def __call__(
    self, x: Float[Array, "b h w *g c"]
  ) -> Float[Array, "b h w n t"]:
    """Convolves, with zeros around the image."""
    g = symmetry(self.group)
    space, t = (self.size, self.size), self.features
    inner = x.shape[3:]
    shape = (*space, *inner, t)

    def init(key, shape, dtype=jnp.float32):
      flat = (*space, int(np.prod(inner)), t)
      return kernel_uniform(key, flat, dtype).reshape(shape)

    w = self.param("kernel", init, shape)
    if len(inner) == 2:
      copies = [g.act(e, w[:, :, g.before[e]], (0, 1)) for e in range(g.order)]
    else:
      copies = [g.act(e, w, (0, 1)) for e in range(g.order)]
    kernel = jnp.stack(copies, -2).reshape(*space, -1, g.order * t)
    y = convolve(x.reshape(*x.shape[:3], -1), kernel)
    y = y.reshape(*y.shape[:3], g.order, t)
    if self.use_bias:
      bias = self.param("bias", nn.initializers.zeros, (t,))
      y = y + bias.reshape(1, 1, 1, 1, t)
    return y
