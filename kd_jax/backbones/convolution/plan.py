"""Which statement of a convolution the CPU takes, by its shape."""

import dataclasses
import functools
import string
from collections.abc import Callable

import jax
from jaxtyping import Array, Float

from kd_jax.backbones.convolution import depthwise, taps, winograd

# Below these Winograd's transforms cost more than its products save.
CHANNELS = 64
SIDE = 8
# Below it windows are narrow rows, and the compiler's own forward pass wins.
FEW = 16


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
    """The compiler's gradients of `sum(dy * native(x, kernel))`."""
    return jax.vjp(self.native, x, kernel)[1](dy)

  def native_input_gradient(
    self,
    dy: Float[Array, "b *out f"],
    kernel: Float[Array, "*size g f"],
    space: tuple[int, ...],
  ) -> Float[Array, "b *space c"]:
    """The compiler's gradient in inputs of this space."""
    shape = (len(dy), *space, kernel.shape[-2] * self.groups)
    like = jax.ShapeDtypeStruct(shape, dy.dtype)
    return jax.linear_transpose(lambda x: self.native(x, kernel), like)(dy)[0]


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
  how: Geometry, image: tuple[int, ...], kernel: tuple[int, ...]
) -> Statements:
  """The fastest statements that were found for a shape, on the CPU.

  Args:
    how: the geometry.
    image: the shape of an input, (h, w, c).
    kernel: the kernel's, (kh, kw, c over groups, f).

  Returns:
    The statements.
  """
  if how.groups > 1 and kernel[2] > 1:
    return Statements(how.native, how.native_gradients)
  if how.groups > 1:
    return _depthwise(how)
  if _fits_winograd(how, image, kernel):
    return Statements(
      functools.partial(winograd.forward, padding=how.padding),
      functools.partial(winograd.gradients, padding=how.padding),
    )
  steps = {"strides": how.strides, "padding": how.padding}
  spread = functools.partial(taps.forward, dilation=how.dilation, **steps)
  close, straight = how.dilation == (1, 1), max(how.strides) == 1
  if straight:
    forward = how.native if close else spread
    backward = functools.partial(_turned, how)
  else:
    forward = how.native if close and kernel[2] < FEW else spread
    backward = (
      functools.partial(taps.input_gradient, size=image[:2], **steps)
      if close
      else functools.partial(how.native_input_gradient, space=image[:2])
    )

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


def _fits_winograd(how, image, kernel) -> bool:
  return (
    how.strides == how.dilation == (1, 1)
    and kernel[:2] == (3, 3)
    and min(image[:2]) >= SIDE
    and min(kernel[2:]) >= CHANNELS
    and all(max(pair) < 3 for pair in how.padding)
  )


def _depthwise(how) -> Statements:
  """Shifted multiply-adds, for channels that are a group each."""

  def forward(x, k):
    return depthwise.forward(x, k, how.strides, how.padding, how.dilation)

  def gradients(x, k, dy):
    return jax.vjp(forward, x, k)[1](dy)

  return Statements(forward, gradients)
