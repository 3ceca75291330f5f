"""Large images as more small ones, for statements whose cost grows with a side.

An image is cut into blocks that overlap by what a window reaches over; their
outputs, side by side, are the image's.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Padding = tuple[tuple[int, int], tuple[int, int]]
NOTHING = ((0, 0), (0, 0))
# Outputs along a block's side, and what they are a multiple of.
SIDE = 32
EVEN = 4


def forward(
  convolve: Callable[..., jax.Array],
  x: Float[Array, "b h w c"],
  kernel: Float[Array, "kh kw c f"],
  padding: Padding,
) -> Float[Array, "b i j f"]:
  """Convolves at stride 1.

  Args:
    convolve: (x, kernel, padding) -> y, for images whose outputs are no more
      than `SIDE` along an axis.
    x: inputs.
    kernel: weights.
    padding: zeros before and behind either space axis.

  Returns:
    The outputs.
  """
  size, counts, length = _layout(x.shape[1:3], kernel.shape[:2], padding)
  x = _cut(x, padding, kernel.shape[:2], counts, length)
  return _join(convolve(x, kernel, NOTHING), size, counts)


def gradients(
  back: Callable[..., tuple[jax.Array, jax.Array]],
  x: Float[Array, "b h w c"],
  kernel: Float[Array, "kh kw c f"],
  dy: Float[Array, "b i j f"],
  padding: Padding,
) -> tuple[Float[Array, "b h w c"], Float[Array, "kh kw c f"]]:
  """The gradients of `sum(dy * forward(convolve, x, kernel, padding))`.

  Args:
    back: (x, kernel, dy, padding) -> (dx, dkernel), of such images.
    x: inputs.
    kernel: weights.
    dy: the outputs' gradient.
    padding: of the convolution.

  Returns:
    The inputs' gradient and the kernel's.
  """
  size, counts, length = _layout(x.shape[1:3], kernel.shape[:2], padding)

  def cut(x):
    return _cut(x, padding, kernel.shape[:2], counts, length)

  fill = [(0, n * s - m) for n, s, m in zip(counts, length, size, strict=True)]
  dy = jnp.pad(dy, ((0, 0), *fill, (0, 0)))
  # Blocks of outputs do not overlap: this is `_join` read backwards.
  dy = dy.reshape(-1, counts[0], length[0], counts[1], length[1], dy.shape[-1])
  dy = dy.transpose(0, 1, 3, 2, 4, 5).reshape(-1, *length, dy.shape[-1])
  dx, found = back(cut(x), kernel, dy, NOTHING)
  return jax.linear_transpose(cut, x)(dx)[0], found


def _layout(space, window, padding):
  """The outputs' size, blocks along either axis, and outputs of a block."""
  size = tuple(
    n + sum(pair) - k + 1
    for n, k, pair in zip(space, window, padding, strict=True)
  )
  counts = tuple(-(-n // SIDE) for n in size)
  length = tuple(
    -(-n // (count * EVEN)) * EVEN
    for n, count in zip(size, counts, strict=True)
  )
  return size, counts, length


def _cut(x, padding, window, counts, length):
  """Blocks as images, each with what its windows see."""
  reach = [n + k - 1 for n, k in zip(length, window, strict=True)]
  fill = [
    (low, (count - 1) * step + wide - n - low)
    for n, (low, _), count, step, wide in zip(
      x.shape[1:3], padding, counts, length, reach, strict=True
    )
  ]
  x = jnp.pad(x, ((0, 0), *fill, (0, 0)))
  for axis in (0, 1):
    x = jnp.stack(
      [
        jax.lax.slice_in_dim(
          x, i * length[axis], i * length[axis] + reach[axis], 1, 2 * axis + 1
        )
        for i in range(counts[axis])
      ],
      axis + 1,
    )
  # Now (b, blocks down, blocks across, rows, columns, c).
  return x.reshape(-1, *x.shape[3:])


def _join(y, size, counts):
  y = y.reshape(-1, *counts, *y.shape[1:]).transpose(0, 1, 3, 2, 4, 5)
  y = y.reshape(len(y), y.shape[1] * y.shape[2], -1, y.shape[-1])
  return y[:, : size[0], : size[1]]
