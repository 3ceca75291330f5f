"""Networks that grow without changing what they compute.

Source: Chen, Goodfellow and Shlens 2016 (Net2Net), arXiv 1511.05641.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from kd_jax.errors import UsageError
from kd_jax.methods.compression import dependencies, trees

PyTree = Any


def replication(
  key: Key[Array, ""], n: int, q: int
) -> tuple[Int[np.ndarray, "q"], Float[np.ndarray, "q"]]:
  """The map g of a wider layer, and 1 / |{x: g(x) = g(j)}|.

  Args:
    key: draws which channels are copied.
    n: the old width.
    q: the new one.

  Returns:
    g(j), j itself up to n; and the factor of each copy's outgoing weights.

  Raises:
    UsageError: if q is below n.
  """
  if q < n:
    raise UsageError(f"a width of {n} cannot grow to {q}")
  more = np.asarray(jax.random.randint(key, (q - n,), 0, n))
  g = np.concatenate([np.arange(n), more])
  return g, 1 / np.bincount(g, minlength=n)[g]


def wider(
  variables: PyTree,
  channels: dependencies.Channels,
  path: str,
  width: int,
  key: Key[Array, ""],
  noise: float = 0.0,
) -> PyTree:
  """Net2WiderNet, for a layer of any network.

  Whatever shares the layer's channels grows with it: norms, depthwise kernels,
  layers that are added to it; and what reads them shares the load.

  Args:
    variables: host arrays.
    channels: `model.Model.channels` of them.
    path: the layer's kernel, "params/fc_0/kernel".
    width: its new width.
    key: draws the copies, and the noise.
    noise: of the copies' incoming weights, over their spread; a little lets
      them part in training.

  Returns:
    The wider variables; `network.run` applies the same module to them.

  Raises:
    UsageError: if that layer's channels cannot change, or would be fewer.
  """
  made_by = [
    g
    for g in channels.groups
    if path in dict(dependencies.producers(channels, g))
  ]
  if not made_by:
    raise UsageError(f"the channels of {path} cannot change their number")
  group = made_by[0]
  classes = dependencies.classes(group)
  g, factor = replication(key, len(classes), width)
  leaves = dict(trees.flatten(variables))
  for (name, axis), components in group.items():
    leaf = np.asarray(leaves[name])
    index, scale, copied = _grown(components, classes, g, factor)
    new = np.take(leaf, index, axis)
    wide = [1] * new.ndim
    wide[axis] = -1
    reads = new.ndim >= 2 and axis == new.ndim - 2
    if reads and name.startswith("params/"):
      new = new * scale.reshape(wide).astype(new.dtype)
    elif noise and new.ndim >= 2:
      drawn = jax.random.normal(jax.random.fold_in(key, axis), new.shape)
      drawn = np.asarray(drawn) * copied.reshape(wide)
      new = new + (noise * leaf.std() * drawn).astype(new.dtype)
    leaves[name] = new
  return trees.unflatten(leaves)


def _grown(components, classes, g, factor):
  """Old index, outgoing factor and whether copied, of each new index.

  The channels stand in runs (one for each place behind a flattened map); the
  copies follow each run.
  """
  n = len(classes)
  place = {int(c): i for i, c in enumerate(classes)}
  index, scale, copied = [], [], []
  at = 0
  while at < len(components):
    if components[at] == 0:
      index.append(at)
      scale.append(1.0)
      copied.append(False)
      at += 1
      continue
    run = [place[int(c)] for c in components[at : at + n]]
    where = {c: at + i for i, c in enumerate(run)}
    order = [*run, *g[n:]]
    index += [where[c] for c in order]
    # A channel's factor is that of its own number.
    scale += [float(factor[c]) for c in order]
    copied += [i >= n for i in range(len(order))]
    at += n
  return np.array(index), np.array(scale), np.array(copied)


def identity_dense(n: int) -> Float[Array, "n n"]:
  """Net2DeeperNet's dense kernel; a ReLU after a ReLU changes nothing."""
  return jnp.eye(n)


def identity_conv(size: int, n: int) -> Float[Array, "d d n n"]:
  """Net2DeeperNet's kernel: 1 in the middle, from a channel to itself.

  Args:
    size: d, odd.
    n: channels.

  Returns:
    The kernel.

  Raises:
    UsageError: for an even extent, which has no middle.
  """
  if size % 2 == 0:
    raise UsageError(f"a kernel of {size} has no middle")
  middle = size // 2
  return jnp.zeros((size, size, n, n)).at[middle, middle].set(jnp.eye(n))


def identity_norm(
  mean: Float[Array, "c"], var: Float[Array, "c"], epsilon: float = 1e-5
) -> dict[str, dict[str, Array]]:
  """A norm that undoes itself: gamma the spread, beta the mean of a batch.

  Args:
    mean: of the activations that come in.
    var: their variance.
    epsilon: the norm's.

  Returns:
    "params" and "batch_stats" of the norm.
  """
  return {
    "params": {"scale": jnp.sqrt(var + epsilon), "bias": mean},
    "batch_stats": {"mean": mean, "var": var},
  }
