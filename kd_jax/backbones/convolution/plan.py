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

  def native_input_gradient(
    self,
    dy: Float[Array, "b *out f"],
    kernel: Float[Array, "*size g f"],
    space: tuple[int, ...],
  ) -> Float[Array, "b *space c"]:
    """The compiler's gradient in inputs of this space."""
    return self._transposed(
      lambda x: self.native(x, kernel),
      (len(dy), *space, kernel.shape[-2] * self.groups),
      dy,
    )

  def native_filter_gradient(
    self,
    x: Float[Array, "b *space c"],
    dy: Float[Array, "b *out f"],
    size: tuple[int, ...],
  ) -> Float[Array, "*size g f"]:
    """The compiler's gradient in a kernel of this size."""
    return self._transposed(
      lambda kernel: self.native(x, kernel),
      (*size, x.shape[-1] // self.groups, dy.shape[-1]),
      dy,
    )

  def _transposed(self, linear, shape, dy):
    like = jax.ShapeDtypeStruct(shape, dy.dtype)
    return jax.linear_transpose(linear, like)(dy)[0]


@dataclasses.dataclass(frozen=True)
class Statements:
  """The three products of a convolution.

  Attributes:
    forward: (x, kernel) -> y.
    input_gradient: (dy, kernel) -> dx.
    filter_gradient: (x, dy) -> dkernel.
  """

  forward: Callable[..., jax.Array]
  input_gradient: Callable[..., jax.Array]
  filter_gradient: Callable[..., jax.Array]


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
  native = Statements(
    how.native,
    functools.partial(how.native_input_gradient, space=image[:2]),
    functools.partial(how.native_filter_gradient, size=kernel[:2]),
  )
  if how.groups > 1:
    return native if kernel[2] > 1 else _depthwise(how, image, kernel)
  steps = {"strides": how.strides, "padding": how.padding}
  spread = functools.partial(taps.forward, dilation=how.dilation, **steps)
  close, straight = how.dilation == (1, 1), max(how.strides) == 1
  if _fits_winograd(how, image, kernel):
    forward = functools.partial(winograd.forward, padding=how.padding)
    backward = functools.partial(winograd.input_gradient, padding=how.padding)
  elif straight:
    forward = native.forward if close else spread
    backward = functools.partial(_turned, how)
  else:
    forward = native.forward if close and kernel[2] < FEW else spread
    backward = (
      functools.partial(taps.input_gradient, size=image[:2], **steps)
      if close
      else native.input_gradient
    )
  return Statements(
    forward,
    backward,
    functools.partial(
      taps.filter_gradient,
      kernel_size=kernel[:2],
      dilation=how.dilation,
      **steps,
    ),
  )


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


def _depthwise(how, image, kernel) -> Statements:
  """Shifted multiply-adds, for channels that are a group each."""

  def forward(x, k):
    return depthwise.forward(x, k, how.strides, how.padding, how.dilation)

  def input_gradient(dy, k):
    like = jax.ShapeDtypeStruct((len(dy), *image), dy.dtype)
    return jax.linear_transpose(lambda x: forward(x, k), like)(dy)[0]

  def filter_gradient(x, dy):
    like = jax.ShapeDtypeStruct(kernel, dy.dtype)
    return jax.linear_transpose(lambda k: forward(x, k), like)(dy)[0]

  return Statements(forward, input_gradient, filter_gradient)
