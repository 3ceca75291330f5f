"""Distances: sums over blocks of Euclidean (not squared) lengths.

Candidates are each question's own (`distance`), rows of a table by number
(`distance_to_rows`), or the same for all questions (`distance_to_all`).
Coordinate j of block i stands at place j * g + i; see `algebra`.

Letters: b questions, m candidates, n rows, g blocks, k their size, d = g k.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# Under the square roots: a vector of length 0 has a gradient, 0.
_TINY = 1e-12
# Coordinates that are compared between two visits to the sums. Measured.
_COORDINATES = 40
# Bytes of a table's rows whose gradients are worked out together on a CPU,
# where all of them are more than so many times as large. Below that a loop
# costs more than it spares, on Kinships three times as much.
_CACHE = 2**22
_MANY = 8


def distance(
  a: Float[Array, "b d"], c: Float[Array, "b m d"], size: int
) -> Float[Array, "b m"]:
  """Sums over blocks of Euclidean (not squared) distances.

  With blocks of size 1 that is the L1 distance, of size 2 the sum of the moduli
  of complex differences.

  Source: OTE (arXiv 1911.04910), the score's distance

  Args:
    a: vectors.
    c: for each of them m others.
    size: k, coordinates per block.

  Returns:
    The distances. Their gradient is 0 where two blocks are equal.
  """
  return _between(a, c, size, there=False)


def _between(a, c, size, *, there):
  """`there`: whether its gradient comes as an array that lies in memory."""
  if size == 1:
    return jnp.abs(a[:, None] - c).sum(-1)
  return _distance(a, c, size, there)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _distance(a, c, size, there):
  return _distance_forward(a, c, size, there)[0]


def _distance_forward(a, c, size, there):
  # Slices before differences: the compiler then makes one pass of it.
  x, y = (z.reshape(*z.shape[:-1], size, -1) for z in (a[:, None], c))
  squared = sum((x[..., j, :] - y[..., j, :]) ** 2 for j in range(size))
  # A root and a quotient: a CPU is five times as long over a reciprocal root.
  length = jnp.sqrt(squared + _TINY)
  return _row_sums(length), (a, c, 1 / length)


def _distance_backward(size, there, saved, g):
  # The derivative of a length is the direction. Written out, because the one
  # that is derived pads every slice to the whole and adds them up.
  a, c, inverse = saved
  weight = (g if there else _settled(g))[..., None] * inverse
  # The large gradient as it is wanted: a sign would be one more pass over it.
  to_c = (c - a[:, None]) * jnp.concatenate([weight] * size, -1)
  return -to_c.sum(1), to_c


_distance.defvjp(_distance_forward, _distance_backward)


def distance_to_rows(
  a: Float[Array, "b d"],
  table: Float[Array, "n d"],
  index: Int[Array, "b m"],
  size: int,
) -> Float[Array, "b m"]:
  """The same to rows of a table, by number.

  On a CPU many rows are taken for some vectors at a time, as many as leave
  their rows in its cache; their gradients are added to the table where it
  stands.

  Args:
    a: vectors.
    table: the rows.
    index: for each vector the numbers of m rows.
    size: k, coordinates per block.

  Returns:
    `distance(a, table[index], size)`.
  """
  if 4 * index.size * table.shape[1] <= _MANY * _CACHE:
    return distance(a, table[index], size)
  return _distance_to_rows(a, table, index, size)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _distance_to_rows(a, table, index, size):
  def add(carry, part):
    a, index = part
    return carry, distance(a, table[index], size)

  def divided(a, index):
    lots = _lots(table, a, index)
    return _scan_ahead(add, (), lots)[1].reshape(index.shape)

  def whole(a, index):
    return add((), (a, index))[1]

  return jax.lax.platform_dependent(a, index, cpu=divided, default=whole)


def _to_rows_forward(a, table, index, size):
  return _distance_to_rows(a, table, index, size), (a, table, index)


def _to_rows_backward(size, saved, g):
  a, table, index = saved

  # What `_scan_ahead` has cut lies in memory.
  own = functools.partial(_between, size=size, there=True)

  def add(total, part):
    a, index, g = part
    _, back = jax.vjp(own, a, table[index])
    to_a, to_c = back(g)
    return total.at[index].add(to_c), to_a

  def divided(*parts):
    lots = _lots(table, *parts)
    to_table, to_a = _scan_ahead(add, jnp.zeros_like(table), lots)
    return to_a.reshape(a.shape), to_table

  def whole(*parts):
    return add(jnp.zeros_like(table), parts)[::-1]

  to_a, to_table = jax.lax.platform_dependent(
    a, index, g, cpu=divided, default=whole
  )
  return to_a, to_table, None


_distance_to_rows.defvjp(_to_rows_forward, _to_rows_backward)


def _lots(table, a, index, *more):
  """All of it in lots of as many vectors as leave their rows in the cache."""
  most = max(1, _CACHE // (4 * index.shape[1] * table.shape[1]))
  few = next(n for n in range(min(most, len(a)), 0, -1) if len(a) % n == 0)
  return [x.reshape(-1, few, *x.shape[1:]) for x in (a, index, *more)]


def _scan_ahead(f, carry, parts):
  """`lax.scan` whose slices are cut a turn before they are used.

  A CPU's compiler draws the cutting of a slice into whatever uses it and does
  it again there for every number, which is then no work for vectors: up to four
  times as long. A slice that the turn before has left is simply there.
  """
  first = jax.tree.map(lambda x: x[0], parts)
  later = jax.tree.map(lambda x: jnp.roll(x, -1, 0), parts)

  def turn(held, later):
    carry, now = held
    carry, out = f(carry, now)
    return (carry, later), out

  (carry, _), out = jax.lax.scan(turn, (carry, first), later)
  return carry, out


def distance_to_all(
  a: Float[Array, "b d"],
  c: Float[Array, "m d"],
  size: int,
  scale: Float[Array, "b d"] | None = None,
) -> Float[Array, "b m"]:
  """The same to vectors that all of them share; for whole tables.

  Candidates stand side by side, so that every number of a coordinate is one
  operation on a row of them and nothing has to be added up across; some blocks
  are taken at a time, and their lengths never lie in memory.

  Args:
    a: vectors.
    c: the others.
    size: k, coordinates per block.
    scale: for each vector what the others' coordinates are multiplied by; None
      leaves them.

  Returns:
    The distances.
  """
  blocks = a.shape[1] // size
  few = max(1, min(blocks, _COORDINATES // size))
  few = next(n for n in range(few, 0, -1) if blocks % n == 0)

  def parts(x):
    x = x.T.reshape(size, -1, few, len(x))
    return jnp.moveaxis(x, 0, 2)

  def add(total, part):
    x, y, *by = part
    lengths = 0.0
    for g in range(few):
      gaps = []
      for j in range(size):
        other = y[g, j][None] * by[0][g, j][:, None] if by else y[g, j][None]
        gaps.append(x[g, j][:, None] - other)
      lengths += _length(gaps)
    return total + lengths, None

  scales = () if scale is None else (parts(scale),)
  nothing = jnp.zeros((len(a), len(c)), a.dtype)
  return _scan_ahead(add, nothing, (parts(a), parts(c), *scales))[0]


def _length(gaps):
  if len(gaps) == 1:
    return jnp.abs(gaps[0])
  return jnp.sqrt(sum(gap * gap for gap in gaps) + _TINY)


def _row_sums(x):
  """Sums over the last axis.

  A CPU adds a row up number by number, each waiting for the one before; as a
  product with ones it has many at a time.
  """

  def product(x):
    return jnp.matmul(x, jnp.ones(x.shape[-1], x.dtype), precision="highest")

  return jax.lax.platform_dependent(x, cpu=product, default=lambda x: x.sum(-1))


def _settled(g):
  """The same numbers, computed once.

  A CPU's compiler draws what leads to a number into every use of it, here into
  each coordinate of each candidate, and heeds no barrier. It does not look
  behind a product, and one with the unit matrix changes nothing.
  """

  def product(g):
    return jnp.matmul(g, jnp.eye(g.shape[-1]), precision="highest")

  return jax.lax.platform_dependent(g, cpu=product, default=lambda g: g)
