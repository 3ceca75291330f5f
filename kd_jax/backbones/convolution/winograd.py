"""3x3 convolutions of stride 1 with a quarter to a half of the usual products.

An output tile of m x m is written as A^T [(G w G^T) * (B^T x B)] A, where x is
the input tile of (m + 2) x (m + 2) that it sees; for many channels and tiles
the product becomes (m + 2)^2 matrix products, one for each place in the tile.
The gradients are the same three sums read backwards, so that the outputs'
gradient is transformed once for both.

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
  kernels = tile.of_kernel(kernel)

  def part(x):
    products = _product(_inputs(x, padding, counts, tile), kernels, 2, 1)
    return _outputs(products, len(x), counts, size, tile)

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
  kernels = tile.of_kernel(kernel)

  def part(x, dy):
    seen = _inputs(x, padding, counts, tile)
    back = _output_gradients(dy, counts, tile)
    dx = _input_gradients(
      _product(back, kernels, 2, 2), x.shape[:3], padding, counts, tile
    )
    return dx, _product(seen, back, 1, 1)

  tiles, widest = counts[0] * counts[1], max(kernel.shape[2:])
  dx, found = over_images(
    part, (x, dy), tile.places * tiles * widest, tiles, added=1
  )
  return dx, tile.to_kernel(found)


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
  fill = [
    (low, t * tile.m + 2 - n - low)
    for n, (low, _), t in zip(x.shape[1:3], padding, counts, strict=True)
  ]
  x = jnp.pad(x, ((0, 0), *fill, (0, 0)))

  def along(x, axis, tiles):
    last = tile.m * (tiles - 1) + 1
    seen = [
      jax.lax.slice_in_dim(x, j, j + last, tile.m, axis)
      for j in range(tile.m + 2)
    ]
    return jnp.stack(_combine(tile.inputs, seen))

  places = along(along(x, 1, counts[0]), 3, counts[1])
  return places.reshape(tile.places, -1, x.shape[-1])


def _outputs(products, images, counts, size, tile):
  """A^T [...] A, of (places, tiles, f)."""
  f = products.shape[-1]
  rows = products.reshape(*[tile.m + 2] * 2, images, *counts, f)
  rows = jnp.stack(_combine(tile.outputs, list(rows)), 4)
  y = jnp.stack(_combine(tile.outputs, list(rows)), 2)
  y = y.reshape(images, *(t * tile.m for t in counts), f)
  return y[:, : size[0], : size[1]]


def _output_gradients(dy, counts, tile):
  """`_outputs` read backwards: (places, tiles, f)."""
  # Outputs of a size that tiles do not divide are made larger, by zeros.
  fill = [
    (0, t * tile.m - n) for n, t in zip(dy.shape[1:3], counts, strict=True)
  ]
  dy = jnp.pad(dy, ((0, 0), *fill, (0, 0)))
  f = dy.shape[-1]
  dy = dy.reshape(-1, counts[0], tile.m, counts[1], tile.m, f)
  back = tile.outputs.T
  rows = jnp.stack(_combine(back, [dy[:, :, i] for i in range(tile.m)]))
  places = jnp.stack(
    _combine(back, [rows[:, :, :, :, j] for j in range(tile.m)])
  )
  return places.reshape(tile.places, -1, f)


def _input_gradients(products, shape, padding, counts, tile):
  """`_inputs` read backwards: tiles overlap by two, and are added there."""
  c, images = products.shape[-1], len(products[0]) // (counts[0] * counts[1])
  size, m = shape[1:], tile.m
  blocks = [-(-n // m) for n in size]

  def along(places, axis, low, blocks):
    parts = _combine(tile.inputs.T, list(places))
    found = []
    for place in range(low, low + m):
      # Place m + j of a tile is place j of the next.
      block = _shifted(parts[place], axis, 0, blocks)
      if place < 2:
        block += _shifted(parts[place + m], axis, 1, blocks)
      elif place >= m:
        block += _shifted(parts[place - m], axis, -1, blocks)
      found.append(block)
    return jnp.stack(found, axis + 1)

  places = products.reshape(*[m + 2] * 2, images, *counts, c)
  places = along(places, 3, padding[1][0], blocks[1])
  dx = along(places, 1, padding[0][0], blocks[0])
  dx = dx.reshape(images, *(t * m for t in blocks), c)
  return dx[:, : size[0], : size[1]]


def _shifted(x, axis, by, length):
  """Moved along an axis that becomes so long; zeros come in, the rest goes."""
  edges = [(0, 0, 0)] * x.ndim
  edges[axis] = (by, length - by - x.shape[axis], 0)
  return jax.lax.pad(x, jnp.zeros((), x.dtype), edges)


def _combine(matrix, arrays):
  """Sums of arrays, weighted by the rows of a matrix."""
  sums = []
  for row in matrix.tolist():
    terms = [
      x if weight == 1 else -x if weight == -1 else x * weight
      for weight, x in zip(row, arrays, strict=True)
      if weight
    ]
    sums.append(sum(terms[1:], terms[0]))
  return sums
