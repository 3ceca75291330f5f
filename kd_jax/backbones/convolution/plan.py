"""Which statement of a convolution the CPU takes, by its shape."""

import dataclasses
import functools
import math
import string
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kd_jax.backbones.convolution import blocks, depthwise, taps, winograd

# Below these Winograd's transforms cost more than its products save: the
# inputs' want many features, the kernel's many tiles.
CHANNELS = 64
TILES = 64
SIDE = 4


@dataclasses.dataclass(frozen=True)
class Geometry:
  """How a kernel meets the inputs.

  Attributes:
    strides: one step for every space axis.
    padding: zeros before and behind every space axis.
    dilation: the distance between taps along every axis.
    groups: groups of channels that do not see each other.
  """

  strides: tuple[int, ...]
  padding: tuple[tuple[int, int], ...]
  dilation: tuple[int, ...]
  groups: int

  def native(
    self, x: Float[Array, "b *space c"], kernel: Float[Array, "*size g f"]
  ) -> Float[Array, "b *out f"]:
    """The compiler's convolution."""
    space = string.digits[: len(self.strides)]
    return jax.lax.conv_general_dilated(
      x,
      kernel,
      self.strides,
      self.padding,
      rhs_dilation=self.dilation,
      dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
      feature_group_count=self.groups,
    )

  def native_gradients(
    self,
    x: Float[Array, "b *space c"],
    kernel: Float[Array, "*size g f"],
    dy: Float[Array, "b *out f"],
  ) -> tuple[Float[Array, "b *space c"], Float[Array, "*size g f"]]:
    """The compiler's gradients of `sum(dy * native(x, kernel))`.

    They are stated here because JAX 0.7 cannot transpose a convolution under
    vmap in a shard_map.
    """
    return (
      self.native_input_gradient(dy, kernel, x.shape[1:-1]),
      self.native_filter_gradient(x, dy, kernel.shape[:-2]),
    )

  def native_input_gradient(
    self,
    dy: Float[Array, "b *out f"],
    kernel: Float[Array, "*size g f"],
    size: tuple[int, ...],
  ) -> Float[Array, "b *space c"]:
    """The compiler's gradient in inputs of this size."""
    space = string.digits[: len(self.strides)]
    axes = tuple(range(len(space)))
    extents, (g, f) = kernel.shape[:-2], kernel.shape[-2:]
    turned = jnp.flip(kernel, axes)
    turned = turned.reshape(*extents, g, self.groups, f // self.groups)
    turned = turned.swapaxes(-3, -1).reshape(*extents, f // self.groups, -1)
    padding = []
    for (low, _), n, m, k, stride, apart in zip(
      self.padding,
      size,
      dy.shape[1:-1],
      extents,
      self.strides,
      self.dilation,
      strict=True,
    ):
      reach = apart * (k - 1)
      padding.append((reach - low, n + low - 1 - (m - 1) * stride))
    return jax.lax.conv_general_dilated(
      dy,
      turned,
      (1,) * len(space),
      padding,
      lhs_dilation=self.strides,
      rhs_dilation=self.dilation,
      dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
      feature_group_count=self.groups,
    )

  def native_filter_gradient(
    self,
    x: Float[Array, "b *space c"],
    dy: Float[Array, "b *out f"],
    extents: tuple[int, ...],
  ) -> Float[Array, "*size g f"]:
    """The compiler's gradient in a kernel of these extents."""
    space = string.digits[: len(self.strides)]
    padding = []
    for (low, _), n, m, k, stride, apart in zip(
      self.padding,
      x.shape[1:-1],
      dy.shape[1:-1],
      extents,
      self.strides,
      self.dilation,
      strict=True,
    ):
      reach = apart * (k - 1) + (m - 1) * stride + 1
      padding.append((low, reach - n - low))
    return jax.lax.conv_general_dilated(
      x,
      dy,
      self.dilation,
      padding,
      rhs_dilation=self.strides,
      dimension_numbers=(f"C{space}N", f"I{space}O", f"{space}NC"),
      batch_group_count=self.groups,
    )


@dataclasses.dataclass(frozen=True)
class Statements:
  """A convolution and its gradients.

  Attributes:
    forward: (x, kernel) -> y.
    gradients: (x, kernel, dy) -> (dx, dkernel).
  """

  forward: Callable[..., jax.Array]
  gradients: Callable[..., tuple[jax.Array, jax.Array]]


def choose(
  how: Geometry, shape: tuple[int, ...], kernel: tuple[int, ...]
) -> Statements:
  """The fastest statements that were found for a shape, on the CPU.

  Args:
    how: the geometry.
    shape: the inputs', (b, h, w, c).
    kernel: the kernel's, (kh, kw, c over groups, f).

  Returns:
    The statements.
  """
  if how.groups > 1 and kernel[2] > 1:
    return Statements(how.native, how.native_gradients)
  if how.groups > 1:
    return _depthwise(how)
  image = shape[1:]
  if _fits_winograd(how, shape, kernel):
    return _winograd(how, image)
  steps = {"strides": how.strides, "padding": how.padding}
  close, straight = how.dilation == (1, 1), max(how.strides) == 1
  forward = (
    how.native
    if close
    else functools.partial(taps.forward, dilation=how.dilation, **steps)
  )
  if straight:
    backward = functools.partial(_turned, how)
  elif close:
    backward = functools.partial(taps.input_gradient, size=image[:2], **steps)
  else:
    backward = functools.partial(how.native_input_gradient, size=image[:2])

  def gradients(x, k, dy):
    in_kernel = taps.filter_gradient(
      x, dy, kernel[:2], dilation=how.dilation, **steps
    )
    return backward(dy, k), in_kernel

  return Statements(forward, gradients)


def _turned(how: Geometry, dy, kernel):
  """At stride 1 the inputs' gradient: dy convolved with the turned kernel.

  The compiler's own says the same by a dimension in reverse, which inside a
  loop takes 70 times as long.
  """
  reach = [
    d * (k - 1) for d, k in zip(how.dilation, kernel.shape, strict=False)
  ]
  padding = tuple(
    (r - low, r - high)
    for r, (low, high) in zip(reach, how.padding, strict=True)
  )
  turned = kernel[::-1, ::-1].swapaxes(2, 3)
  back = dataclasses.replace(how, padding=padding)
  if how.dilation == (1, 1):
    return back.native(dy, turned)
  return taps.forward(dy, turned, (1, 1), padding, how.dilation)


def _fits_winograd(how, shape, kernel) -> bool:
  images, *space, _ = shape
  tiles = images * math.prod(-(-n // winograd.FOUR.m) for n in space)
  return (
    how.strides == how.dilation == (1, 1)
    and kernel[:2] == (3, 3)
    and min(space) >= SIDE
    and tiles >= TILES
    and min(kernel[2:]) >= CHANNELS
    and all(max(pair) < 3 for pair in how.padding)
  )


def _winograd(how, image) -> Statements:
  if max(image[:2]) <= blocks.SIDE:
    return Statements(
      functools.partial(winograd.forward, padding=how.padding),
      functools.partial(winograd.gradients, padding=how.padding),
    )
  return Statements(
    functools.partial(blocks.forward, winograd.forward, padding=how.padding),
    functools.partial(
      blocks.gradients, winograd.gradients, padding=how.padding
    ),
  )


def _depthwise(how) -> Statements:
  """Shifted multiply-adds, for channels that are a group each."""

  def forward(x, k):
    return depthwise.forward(x, k, how.strides, how.padding, how.dilation)

  def gradients(x, k, dy):
    in_x = jax.linear_transpose(lambda x: forward(x, k), x)
    in_kernel = jax.linear_transpose(lambda k: forward(x, k), k)
    return in_x(dy)[0], in_kernel(dy)[0]

  return Statements(forward, gradients)
