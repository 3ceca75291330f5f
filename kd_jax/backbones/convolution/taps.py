"""Convolutions as matrix products over the windows, for any kernel and stride.

Every tap of the kernel sees a strided slice of the padded input. Side by side
along the channels these slices are the windows, and one product with the kernel
convolves. No gradient here is a convolution with a window as large as the
image, which is what costs the compiler's own filter gradient its time.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kd_jax.backbones.convolution.chunks import over_images

Padding = tuple[tuple[int, int], tuple[int, int]]
Pair = tuple[int, int]


def forward(
  x: Float[Array, "b h w c"],
  kernel: Float[Array, "kh kw c f"],
  strides: Pair,
  padding: Padding,
  dilation: Pair = (1, 1),
) -> Float[Array, "b i j f"]:
  """Convolves.

  Args:
    x: inputs.
    kernel: weights.
    strides: one step for either space axis.
    padding: zeros before and behind either space axis.
    dilation: the distance between a kernel's taps along either axis.

  Returns:
    The outputs.
  """
  size = _size(x.shape, kernel.shape, strides, padding, dilation)
  weights = kernel.reshape(-1, kernel.shape[-1])

  def part(x):
    windows = _windows(x, kernel.shape[:2], strides, padding, dilation, size)
    return (windows @ weights).reshape(-1, *size, weights.shape[-1])

  rows = math.prod(size)
  return over_images(part, (x,), rows * len(weights), rows)


def filter_gradient(
  x: Float[Array, "b h w c"],
  dy: Float[Array, "b i j f"],
  kernel_size: Pair,
  strides: Pair,
  padding: Padding,
  dilation: Pair = (1, 1),
) -> Float[Array, "kh kw c f"]:
  """The gradient in `kernel` of `sum(dy * forward(x, kernel, ...))`.

  Args:
    x: inputs.
    dy: the outputs' gradient.
    kernel_size: the kernel's extents.
    strides: of the convolution.
    padding: of the convolution.
    dilation: of the convolution.

  Returns:
    The kernel's gradient.
  """
  if strides == (1, 1):
    return _shifted_filter_gradient(x, dy, kernel_size, padding, dilation)
  return _strided_filter_gradient(
    x, dy, kernel_size, strides, padding, dilation
  )


def _shifted_filter_gradient(x, dy, kernel_size, padding, dilation):
  """At stride 1: x shifted along its rows meets dy shifted along its columns.

  With kh and kw shifts where the windows are kh kw, one product gives all taps.
  """
  (_, h, _, c), (kh, kw), f = x.shape, kernel_size, dy.shape[-1]
  rows, columns = dy.shape[1:3]
  (top, _), down = padding[0], (kh - 1) * dilation[0]

  def part(x, dy):
    x = _pad(x, ((0, 0), padding[1]))
    # Row r of the inputs meets row r + top - i of the outputs at tap i.
    dy = _pad(dy, ((down - top, h + top - rows), (0, 0)))
    left = [_window(x, 0, j * dilation[1], (h, columns)) for j in range(kw)]
    right = [
      _window(dy, down - i * dilation[0], 0, (h, columns)) for i in range(kh)
    ]
    return jax.lax.dot_general(
      jnp.concatenate(left, -1).reshape(-1, kw * c),
      jnp.concatenate(right, -1).reshape(-1, kh * f),
      (((0,), (0,)), ((), ())),
    )

  numbers = h * columns * (kw * c + kh * f)
  found = over_images(part, (x, dy), numbers, h * columns, added=1)
  return found.reshape(kw, c, kh, f).transpose(2, 0, 1, 3)


def _strided_filter_gradient(x, dy, kernel_size, strides, padding, dilation):
  """At any stride: a product over windows.

  The columns of a stride lie side by side as channels, its rows on an axis of
  their own: no slice has steps, and neighbouring taps are one slice.
  """
  size, c, f = dy.shape[1:3], x.shape[-1], dy.shape[-1]
  # How many strides on a tap is, and its remainder.
  down, across = (
    [divmod(k * apart, step) for k in range(extent)]
    for extent, apart, step in zip(kernel_size, dilation, strides, strict=True)
  )
  high, wide = (n + v[-1][0] for n, v in zip(size, (down, across), strict=True))
  fill = [
    (low, count * step - low - n)
    for (low, _), count, step, n in zip(
      padding, (high, wide), strides, x.shape[1:3], strict=True
    )
  ]

  def part(x, dy):
    x = _pad(x, fill).reshape(-1, high, strides[0], wide, strides[1] * c)
    windows = [
      _window(x[:, :, row, :, first * c : (last + 1) * c], below, beside, size)
      for below, row in down
      for beside, first, last in _runs(across)
    ]
    windows = windows[0] if len(windows) == 1 else jnp.concatenate(windows, -1)
    return jax.lax.dot_general(
      dy.reshape(-1, f),
      windows.reshape(-1, windows.shape[-1]),
      (((0,), (0,)), ((), ())),
    )

  rows = math.prod(size)
  numbers = rows * (math.prod(kernel_size) * c + f)
  found = over_images(part, (x, dy), numbers, rows, added=1)
  return found.T.reshape(*kernel_size, c, f)


def _runs(places: list[Pair]) -> list[tuple[int, int, int]]:
  """Taps that lie side by side within a stride: strides on, first, last."""
  found: list[tuple[int, int, int]] = []
  for on, place in places:
    if found and found[-1][0] == on and found[-1][2] == place - 1:
      found[-1] = (on, found[-1][1], place)
    else:
      found.append((on, place, place))
  return found


def input_gradient(
  dy: Float[Array, "b i j f"],
  kernel: Float[Array, "kh kw c f"],
  size: Pair,
  strides: Pair,
  padding: Padding,
) -> Float[Array, "b h w c"]:
  """The gradient in `x` of `sum(dy * forward(x, kernel, ...))`.

  An input at place p meets the taps k with p + padding - k divisible by the
  stride: inputs of one remainder are a small convolution of `dy` of their own,
  so that no product has a zero for a factor.

  Args:
    dy: the outputs' gradient.
    kernel: weights.
    size: the inputs' height and width.
    strides: of the convolution.
    padding: of the convolution.

  Returns:
    The inputs' gradient.
  """
  classes = [
    [_reach(k, s, low, p) for p in range(s)]
    for k, s, (low, _) in zip(kernel.shape[:2], strides, padding, strict=True)
  ]
  places = tuple(-(-n // s) for n, s in zip(size, strides, strict=True))

  def gather(rows, columns):
    if not rows or not columns:
      return jnp.zeros((len(dy), *places, kernel.shape[2]), dy.dtype)
    weights = kernel
    for axis, reached in enumerate((rows, columns)):
      taps = np.array([tap for tap, _ in reached[::-1]])
      weights = weights.take(taps, axis)
    edges = [
      (-reached[-1][1], n + reached[0][1] - m)
      for reached, n, m in zip(
        (rows, columns), places, dy.shape[1:3], strict=True
      )
    ]
    return jax.lax.conv_general_dilated(
      dy,
      weights.swapaxes(2, 3),
      (1, 1),
      edges,
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )

  planes = [
    jnp.stack([gather(rows, columns) for columns in classes[1]], 3)
    for rows in classes[0]
  ]
  whole = [n * s for n, s in zip(places, strides, strict=True)]
  found = jnp.stack(planes, 2).reshape(len(dy), *whole, kernel.shape[2])
  return found[:, : size[0], : size[1]]


def _reach(extent: int, stride: int, low: int, place: int) -> list[Pair]:
  """The taps that an input meets, each with where its output stands.

  Args:
    extent: the kernel's.
    stride: of the convolution.
    low: the zeros before the inputs.
    place: the input's, below the stride; `place + n * stride` meets the same
      taps n outputs further on.

  Returns:
    Pairs of tap and output.
  """
  return [
    (k, (place + low - k) // stride)
    for k in range(extent)
    if (place + low - k) % stride == 0
  ]


def _size(shape, kernel_shape, strides, padding, dilation) -> Pair:
  h, w = (
    (n + sum(p) - d * (k - 1) - 1) // s + 1
    for n, p, d, k, s in zip(
      shape[1:3], padding, dilation, kernel_shape[:2], strides, strict=True
    )
  )
  return h, w


def _windows(x, kernel_size, strides, padding, dilation, size):
  """The windows as rows: (outputs of all images, taps times channels)."""
  x = _pad(x, padding)
  taps = [
    _window(x, i * dilation[0], j * dilation[1], size, strides)
    for i in range(kernel_size[0])
    for j in range(kernel_size[1])
  ]
  windows = taps[0] if len(taps) == 1 else jnp.concatenate(taps, -1)
  return windows.reshape(-1, windows.shape[-1])


def _window(x, top, left, size, strides=(1, 1)):
  rows = slice(top, top + strides[0] * (size[0] - 1) + 1, strides[0])
  columns = slice(left, left + strides[1] * (size[1] - 1) + 1, strides[1])
  return x[:, rows, columns]


def _pad(x, padding):
  """Zeros around the images; a negative number cuts."""
  still = (0, 0, 0)
  edges = [(low, high, 0) for low, high in padding]
  return jax.lax.pad(x, jnp.zeros((), x.dtype), (still, *edges, still))
