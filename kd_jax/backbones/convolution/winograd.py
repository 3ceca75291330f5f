"""3x3 convolutions of stride 1 with 16 products where 36 are usual.

An output tile of 2x2 is written as A^T [(G w G^T) * (B^T x B)] A, where x is
the input tile of 4x4 that it sees; for many channels and tiles the product
becomes 16 matrix products, one for each place in the tile.

Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR
2016, arXiv 1509.09308, section 4.1, F(2x2, 3x3).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kd_jax.backbones.convolution.chunks import over_images

Padding = tuple[tuple[int, int], tuple[int, int]]

_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_KERNELS = np.einsum("ai,bj->abij", _G, _G).reshape(16, 9)


def forward(
  x: Float[Array, "b h w c"],
  kernel: Float[Array, "3 3 c f"],
  padding: Padding,
) -> Float[Array, "b i j f"]:
  """Convolves.

  Args:
    x: inputs.
    kernel: weights.
    padding: zeros before and behind either space axis, two at most.

  Returns:
    The outputs.
  """
  return _convolve(x, _transform(kernel, _KERNELS), padding, contract=1)


def input_gradient(
  dy: Float[Array, "b i j f"],
  kernel: Float[Array, "3 3 c f"],
  padding: Padding,
) -> Float[Array, "b h w c"]:
  """The gradient in `x` of `sum(dy * forward(x, kernel, padding))`.

  Args:
    dy: the outputs' gradient.
    kernel: weights.
    padding: of the convolution.

  Returns:
    The inputs' gradient.
  """
  turned = _transform(kernel, _KERNELS[:, ::-1])
  other = tuple((2 - low, 2 - high) for low, high in padding)
  return _convolve(dy, turned, other, contract=2)


def _transform(kernel, weights):
  """G w G^T: for each of 16 places a matrix (c, f)."""
  taps = kernel.reshape(9, -1)
  return (weights.astype(taps.dtype) @ taps).reshape(16, *kernel.shape[2:])


def _convolve(x, kernels, padding, contract):
  _, h, w, c = x.shape
  (top, bottom), (left, right) = padding
  size = (h + top + bottom - 2, w + left + right - 2)
  th, tw = (-(-n // 2) for n in size)
  # An output of odd size is made one larger, and cut.
  fill = ((top, 2 * th + 2 - h - top), (left, 2 * tw + 2 - w - left))
  products = (((2,), (contract,)), ((0,), (0,)))

  def part(x):
    n = len(x)
    x = jnp.pad(x, ((0, 0), *fill, (0, 0)))
    tiles = _inputs(_inputs(x, 2), 2).reshape(16, n * th * tw, c)
    found = jax.lax.dot_general(tiles, kernels, products)
    found = found.reshape(4, 4, n, th, tw, found.shape[-1])
    y = _outputs(_outputs(found, 3), 4)
    return y.reshape(n, 2 * th, 2 * tw, y.shape[-1])[:, : size[0], : size[1]]

  return over_images(part, (x,), 16 * th * tw * c, th * tw)


def _inputs(x, axis):
  """B^T along an axis of 2 t + 2: a leading axis of 4 places, t tiles."""

  def every_other(start):
    return jax.lax.slice_in_dim(x, start, None, 2, axis)

  even, odd = every_other(0), every_other(1)
  tiles = even.shape[axis] - 1

  def shifted(a, by):
    return jax.lax.slice_in_dim(a, by, by + tiles, 1, axis)

  first, second = shifted(even, 0), shifted(odd, 0)
  third, fourth = shifted(even, 1), shifted(odd, 1)
  return jnp.stack(
    [first - third, second + third, third - second, second - fourth]
  )


def _outputs(m, axis):
  """A^T over the leading axis of 4 places, two outputs side by side."""
  return jnp.stack([m[0] + m[1] + m[2], m[1] - m[2] - m[3]], axis)
