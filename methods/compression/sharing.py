"""Scheme (a): weights that share a few values, found by 1-D k-means.

On a line the clusters are intervals, so the weights are sorted once and their
sums kept: a Lloyd step looks up the k - 1 midpoints and subtracts sums at the
cuts, O(k log n) whatever n. Zeros are not clustered: a centroid among them
would be lost to them, and large weights with it.

Source: Han, Mao and Dally 2016 (Deep Compression), arXiv 1510.00149.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from kd_jax.errors import UsageError
from kd_jax.methods.compression import trees
from kd_jax.methods.compression.protocol import Transform

PyTree = Any
ITERATIONS = 30
BLOCK = 1024


def kmeans(
  w: Float[Array, "n"],
  k: int,
  *,
  iterations: int = ITERATIONS,
  start: str = "linear",
) -> tuple[Float[Array, "k"], Int[Array, "n"]]:
  """Centroids of the weights that are not zero, and each weight's code.

  Equation: min sum_c sum_(w in c) (w - c)^2
  Source: Han et al. 2016, eq. 2; the linear start is their section 3.2

  Args:
    w: weights.
    k: how many centroids.
    iterations: Lloyd steps.
    start: "linear" spaces centroids evenly from the smallest to the largest
      weight, since large weights matter and are few; "density" takes quantiles.

  Returns:
    Centroids, ascending, and codes: 0 for a zero, else 1 + the centroid's
    place. An empty cluster keeps its centroid.
  """
  n = w.shape[0]
  nonzero = w != 0
  count = nonzero.sum(dtype=jnp.int32)
  # Zeros go to the end of the line, behind every weight.
  line = jnp.sort(jnp.where(nonzero, w, jnp.inf))
  sums = prefix_sums(jnp.where(jnp.isfinite(line), line, 0.0))
  low, high = line[0], line[jnp.maximum(count - 1, 0)]
  low, high = (jnp.where(count > 0, v, 0.0) for v in (low, high))
  part = (jnp.arange(k, dtype=w.dtype) + 0.5) / k
  if start == "linear":
    first = low + (high - low) * jnp.linspace(0.0, 1.0, k, dtype=w.dtype)
  else:
    place = (part * count).astype(jnp.int32)
    first = jnp.where(count > 0, line[jnp.minimum(place, n - 1)], 0.0)

  def lloyd(c, _):
    middle = (c[1:] + c[:-1]) / 2
    cuts = jnp.searchsorted(line, middle, side="right").astype(jnp.int32)
    ends = jnp.concatenate(
      [jnp.zeros(1, jnp.int32), jnp.minimum(cuts, count), count[None]]
    )
    size = ends[1:] - ends[:-1]
    total = interval_sums(sums, ends[:-1], ends[1:])
    mean = total / jnp.maximum(size, 1).astype(w.dtype)
    # A mean of floats may round past its neighbours'.
    return jnp.sort(jnp.where(size > 0, mean, c)), None

  centroids, _ = jax.lax.scan(lloyd, first, length=iterations)
  middle = (centroids[1:] + centroids[:-1]) / 2
  code = jnp.searchsorted(middle, w, side="left").astype(jnp.int32) + 1
  return centroids, jnp.where(nonzero, code, 0)


def prefix_sums(
  line: Float[Array, "n"],
) -> tuple[Float[Array, "blocks"], Float[Array, "blocks size"]]:
  """Running sums in two levels: float32 over a quarter million would drift.

  Args:
    line: numbers.

  Returns:
    The sum before each block of 1,024, and the running sum within each.
  """
  padded = jnp.pad(line, (0, -line.shape[0] % BLOCK + BLOCK))
  within = jnp.cumsum(padded.reshape(-1, BLOCK), 1)
  # Few numbers: added with their rounding errors kept (Neumaier).
  before = _compensated(within[:, -1])
  return before, within


def _compensated(x):
  def add(carry, v):
    total, lost = carry
    new = total + v
    big = jnp.abs(total) >= jnp.abs(v)
    lost = lost + jnp.where(big, (total - new) + v, (v - new) + total)
    return (new, lost), total + lost

  zero = jnp.zeros((), x.dtype)
  return jax.lax.scan(add, (zero, zero), x)[1]


def interval_sums(
  sums: tuple[Any, Any], begin: Int[Array, "k"], end: Int[Array, "k"]
) -> Float[Array, "k"]:
  """Sums of line[begin:end] from what `prefix_sums` gave."""
  before, within = sums

  def at(i):
    block, place = i // BLOCK, i % BLOCK
    inside = jnp.where(place > 0, within[block, place - 1], 0.0)
    return before[block], inside

  (high_b, high_w), (low_b, low_w) = at(end), at(begin)
  return (high_b - low_b) + (high_w - low_w)


def rate(n: int, bits: int, k: int) -> float:
  """Compression by sharing alone, r = n b / (n log2 k + k b).

  Source: Han et al. 2016, eq. 1

  Args:
    n: weights.
    bits: b, of a weight.
    k: centroids.

  Returns:
    r.
  """
  return n * bits / (n * np.log2(k) + k * bits)


def share(
  bits: int = 5,
  *,
  conv_bits: int = 8,
  include: trees.Patterns = "*",
  start: str = "linear",
) -> Transform:
  """Gives a kernel 2^bits - 1 values and zero; they are then trained.

  The gradient of a centroid is the sum of its members' gradients.

  Args:
    bits: of a code in dense kernels.
    conv_bits: in convolutions'.
    include: patterns of the kernels' paths.
    start: of `kmeans`.

  Returns:
    The transform. Its tree has {"shared": {"centroids"}} in a kernel's place,
    its state the codes.

  Raises:
    UsageError: for bits outside 1 to 8, or another start; in `init`, where
      nothing matches.
  """
  if start not in ("linear", "density"):
    raise UsageError(f"share: start is {start!r}; it is linear or density")
  for b in (bits, conv_bits):
    if not 1 <= b <= 8:
      raise UsageError(f"share:{b}: a code has 1 to 8 bits")

  def init(key, params):
    del key
    codes, new = {}, {}
    found = trees.kernels(params, include)
    if not found:
      raise UsageError(f"share: no kernel's path matches {include!r}")
    for path, w in found.items():
      k = 2 ** (conv_bits if w.ndim == 4 else bits) - 1
      centroids, code = kmeans(w.ravel(), k, start=start)
      new[path] = {"shared": {"centroids": centroids}}
      codes[path] = code.reshape(w.shape).astype(jnp.uint8)
    return trees.replace(params, new), {"codes": codes}

  def finalize(params, state):
    return trees.replace(
      params,
      {
        path: {
          "shared": {
            "codes": codes,
            "centroids": trees.get(params, f"{path}/shared/centroids"),
          }
        }
        for path, codes in state["codes"].items()
      },
    )

  def project(params, state, step=0):
    del step
    new = {}
    for path, codes in state["codes"].items():
      table = trees.get(params, f"{path}/shared/centroids")
      table = jnp.concatenate([jnp.zeros(1, table.dtype), table])
      new[path] = table[codes.astype(jnp.int32)]
    return trees.replace(params, new)

  return Transform("share", "values", init, project, finalize=finalize)
