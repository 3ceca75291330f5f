"""3x3 convolutions of stride 1 with a quarter to a half of the usual products.

An output tile of m x m is written as A^T [(G w G^T) * (B^T x B)] A, where x is
the input tile of (m + 2) x (m + 2) that it sees; for many channels and tiles
the product becomes (m + 2)^2 matrix products, one for each place in the tile.
The gradients are the same three sums read backwards, so that the outputs'
gradient is transformed once for both.

The transforms are products too, with small constant matrices, and what is left
are copies: sums of slices are as fast, but take the compiler three times as
long.

Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR
2016, arXiv 1509.09308, section 4.1; for m = 4 with the points 0, 1, -1, 1/2, -2
in the place of 0, 1, -1, 2, -2, whose error is half as large (Barabasz et al.,
Error Analysis and Improving the Accuracy of Winograd Convolution for Deep
Neural Networks, arXiv 1803.10986).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kd_jax.backbones.convolution.chunks import over_images

# Numbers of a transformed kernel. What is above 32 MiB the allocator takes from
# the system each time, and its pages are touched as for the first time.
MOST = 2**22
Padding = tuple[tuple[int, int], tuple[int, int]]


@dataclasses.dataclass(frozen=True, eq=False)
class Tile:
  """The matrices of F(m x m, 3 x 3), along one axis.

  Attributes:
    inputs: B^T, (m + 2, m + 2).
    kernels: G, (m + 2, 3).
    outputs: A^T, (m, m + 2).
  """

  inputs: np.ndarray
  kernels: np.ndarray
  outputs: np.ndarray

  @property
  def m(self) -> int:
    """Outputs along an axis."""
    return len(self.outputs)

  @property
  def places(self) -> int:
    """Products of a tile."""
    return len(self.inputs) ** 2

  def of_kernel(
    self, kernel: Float[Array, "3 3 c f"]
  ) -> Float[Array, "places c f"]:
    """G w G^T, places along the second axis first."""
    flat = self._both(kernel.dtype) @ kernel.reshape(9, -1)
    return flat.reshape(self.places, *kernel.shape[2:])

  def to_kernel(
    self, gradient: Float[Array, "places c f"]
  ) -> Float[Array, "3 3 c f"]:
    """The same read backwards."""
    flat = self._both(gradient.dtype).T @ gradient.reshape(self.places, -1)
    return flat.reshape(3, 3, *gradient.shape[1:])

  def _both(self, dtype):
    both = np.einsum("ai,bj->baij", self.kernels, self.kernels)
    return both.reshape(self.places, 9).astype(dtype)


TWO = Tile(
  inputs=np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
  kernels=np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]]),
  outputs=np.array([[1, 1, 1, 0], [0, 1, -1, -1]]),
)
FOUR = Tile(
  inputs=np.array(
    [
      [2, -3, -4, 3, 2, 0],
      [0, -2, 1, 5, 2, 0],
      [0, -2, 5, -1, -2, 0],
      [0, 2, 1, -2, -1, 0],
      [0, 1, -2, -1, 2, 0],
      [0, 2, -3, -4, 3, 2],
    ]
  ),
  kernels=np.array(
    [
      [45, 0, 0],
      [15, 15, 15],
      [15, -15, 15],
      [96, 48, 24],
      [3, -6, 12],
      [0, 0, 45],
    ]
  )
  / 90,
  outputs=np.array(
    [
      [1, 1, 1, 1, 1, 0],
      [0, 1, -1, 0.5, -2, 0],
      [0, 1, 1, 0.25, 4, 0],
      [0, 1, -1, 0.125, -8, 1],
    ]
  ),
)


def forward(
  x: Float[Array, "b h w c"],
  kernel: Float[Array, "3 3 c f"],
  padding: Padding,
  tile: Tile = FOUR,
) -> Float[Array, "b i j f"]:
  """Convolves.

  Args:
    x: inputs.
    kernel: weights.
    padding: zeros before and behind either space axis, two at most.
    tile: how many outputs at a time.

  Returns:
    The outputs.
  """
  size, counts = _tiles(x.shape[1:3], padding, tile)
  kernels = [tile.of_kernel(k) for k in _parts(kernel, tile)]

  def part(x):
    seen = _inputs(x, padding, counts, tile)
    found = [
      _outputs(_product(seen, k, 2, 1), counts, size, tile) for k in kernels
    ]
    return jnp.concatenate(found, -1)

  tiles, widest = counts[0] * counts[1], max(x.shape[-1], kernel.shape[-1])
  return over_images(part, (x,), tile.places * tiles * widest, tiles)


def gradients(
  x: Float[Array, "b h w c"],
  kernel: Float[Array, "3 3 c f"],
  dy: Float[Array, "b i j f"],
  padding: Padding,
  tile: Tile = FOUR,
) -> tuple[Float[Array, "b h w c"], Float[Array, "3 3 c f"]]:
  """The gradients of `sum(dy * forward(x, kernel, padding))`.

  Args:
    x: inputs.
    kernel: weights.
    dy: the outputs' gradient.
    padding: of the convolution.
    tile: how many outputs at a time.

  Returns:
    The inputs' gradient and the kernel's.
  """
  _, counts = _tiles(x.shape[1:3], padding, tile)
  kernels = [tile.of_kernel(k) for k in _parts(kernel, tile)]

  def part(x, dy):
    seen = _inputs(x, padding, counts, tile)
    dx, found = [], []
    for k, d in zip(kernels, jnp.split(dy, len(kernels), -1), strict=True):
      back = _output_gradients(d, counts, tile)
      dx.append(_product(back, k, 2, 2))
      found.append(_product(seen, back, 1, 1))
    dx = _input_gradients(sum(dx), x.shape[1:3], padding, counts, tile)
    return dx, *found

  tiles, widest = counts[0] * counts[1], max(kernel.shape[2:])
  dx, *found = over_images(
    part,
    (x, dy),
    tile.places * tiles * widest,
    tiles,
    added=len(kernels),
  )
  return dx, jnp.concatenate([tile.to_kernel(d) for d in found], -1)


def _parts(kernel, tile):
  """The kernel by outputs, each part's products below MOST numbers."""
  parts, (c, f) = 1, kernel.shape[2:]
  while tile.places * c * f // parts > MOST and f % (2 * parts) == 0:
    parts *= 2
  return jnp.split(kernel, parts, -1)


def _product(a, b, i, j):
  """For every place, with these axes contracted."""
  return jax.lax.dot_general(a, b, (((i,), (j,)), ((0,), (0,))))


def _tiles(space, padding, tile):
  """The outputs' size, and the tiles along either axis."""
  size = tuple(
    n + sum(pair) - 2 for n, pair in zip(space, padding, strict=True)
  )
  return size, tuple(-(-n // tile.m) for n in size)


def _inputs(x, padding, counts, tile):
  """B^T x B: (places, tiles, c)."""
  images, h, w, c = x.shape
  rows, columns = (
    _windows(n, low, t, tile)
    for n, (low, _), t in zip((h, w), padding, counts, strict=True)
  )
  seen = _each(rows, x.reshape(images, h, w * c))
  seen = _each(columns, seen.reshape(-1, w, c))
  side = tile.m + 2
  seen = seen.reshape(images, counts[0], side, counts[1], side, c)
  return seen.transpose(4, 2, 0, 1, 3, 5).reshape(tile.places, -1, c)


def _input_gradients(products, space, padding, counts, tile):
  """`_inputs` read backwards."""
  (h, w), c, side = space, products.shape[-1], tile.m + 2
  rows, columns = (
    _windows(n, low, t, tile)
    for n, (low, _), t in zip((h, w), padding, counts, strict=True)
  )
  dx = products.reshape(side, side, -1, *counts, c)
  dx = dx.transpose(2, 3, 1, 4, 0, 5).reshape(-1, len(columns), c)
  dx = _each(columns.T, dx).reshape(-1, len(rows), w * c)
  return _each(rows.T, dx).reshape(-1, h, w, c)


def _windows(n, low, tiles, tile):
  """B^T for all tiles along an axis of n, `low` zeros before it.

  Tiles overlap by two: read backwards, their gradients are added there. Of
  zeros outside nothing is left but the columns that are missing here.
  """
  side = tile.m + 2
  matrix = np.zeros((tiles, side, low + n + tile.m + 2))
  for t in range(tiles):
    matrix[t, :, t * tile.m : t * tile.m + side] = tile.inputs
  return matrix.reshape(tiles * side, -1)[:, low : low + n]


def _outputs(products, counts, size, tile):
  """A^T [...] A, of (places, tiles, f)."""
  f, m = products.shape[-1], tile.m
  both = np.kron(tile.outputs, tile.outputs).astype(products.dtype)
  y = both @ products.reshape(tile.places, -1)
  y = y.reshape(m, m, -1, *counts, f).transpose(2, 3, 1, 4, 0, 5)
  y = y.reshape(-1, counts[0] * m, counts[1] * m, f)
  return y[:, : size[0], : size[1]]


def _output_gradients(dy, counts, tile):
  """`_outputs` read backwards: (places, tiles, f)."""
  f, m = dy.shape[-1], tile.m
  # Outputs of a size that tiles do not divide are made larger, by zeros.
  fill = [(0, t * m - n) for n, t in zip(dy.shape[1:3], counts, strict=True)]
  dy = jnp.pad(dy, ((0, 0), *fill, (0, 0)))
  dy = dy.reshape(-1, counts[0], m, counts[1], m, f)
  dy = dy.transpose(4, 2, 0, 1, 3, 5).reshape(m * m, -1)
  both = np.kron(tile.outputs, tile.outputs).astype(dy.dtype)
  return (both.T @ dy).reshape(tile.places, -1, f)


def _each(matrix, arrays):
  """A matrix times each of many."""
  matrix = jnp.asarray(matrix, arrays.dtype)
  matrix = jnp.broadcast_to(matrix, (len(arrays), *matrix.shape))
  return _product(matrix, arrays, 2, 1)
