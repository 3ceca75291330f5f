"""Scheme (a): masks by magnitude, exact to the weight.

Sources: Han, Pool, Tran and Dally 2015 (arXiv 1506.02626), a threshold of
q * std; Zhu and Gupta 2017 (arXiv 1710.01878), a cubic schedule of sparsity.
Ties are broken by flat index, so that the count of what is kept is exact.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from kd_jax.errors import UsageError
from kd_jax.methods.compression import trees
from kd_jax.methods.compression.protocol import Transform

PyTree = Any


def keep_largest(
  size: Float[Array, "n"], count: Int[Array, ""] | int
) -> Bool[Array, "n"]:
  """Marks exactly so many of the largest; of equals, the first ones.

  Args:
    size: at least 0.
    count: how many to keep, 0 to n; may be traced, so that a schedule does not
      compile anew.

  Returns:
    The mask.
  """
  n = size.shape[0]
  count = jnp.asarray(count, jnp.int32)
  # The count-th largest; of none at all, a value above every other.
  place = jnp.clip(n - count, 0, n - 1)
  least = jnp.where(count > 0, jnp.sort(size)[place], jnp.inf)
  above = size > least
  equal = size == least
  room = count - above.sum(dtype=jnp.int32)
  return above | (equal & (jnp.cumsum(equal.astype(jnp.int32)) <= room))


def kept(n: int, sparsity: float) -> int:
  """How many of n weights stay: ceil((1 - s) n).

  Args:
    n: how many there are.
    sparsity: s, the part that is zero.

  Returns:
    The count; at least 1 below s = 1. Rounding of (1 - s) n does not add one.
  """
  return math.ceil(round((1 - sparsity) * n, 6))


def masks(
  sizes: Mapping[str, Array],
  counts: Mapping[str, Any] | Any,
) -> dict[str, Bool[Array, "..."]]:
  """Masks of the largest weights, by layer or over all of them.

  Args:
    sizes: magnitudes by path.
    counts: how many to keep, by path; or one number for all together.

  Returns:
    Masks by path.
  """
  if isinstance(counts, Mapping):
    return {
      path: keep_largest(s.ravel(), counts[path]).reshape(s.shape)
      for path, s in sizes.items()
    }
  flat = jnp.concatenate([s.ravel() for s in sizes.values()])
  found, start = keep_largest(flat, counts), 0
  made = {}
  for path, s in sizes.items():
    made[path] = found[start : start + s.size].reshape(s.shape)
    start += s.size
  return made


def apply_masks(params: PyTree, mask: Mapping[str, Array]) -> PyTree:
  """Zeroes what is masked.

  Args:
    params: a tree.
    mask: masks by path; one whose leaf has become something else is passed by
      (a codebook has a code for zero).

  Returns:
    The tree.
  """
  new = {}
  for path, m in mask.items():
    leaf = trees.get(params, path)
    if getattr(leaf, "shape", None) == m.shape:
      new[path] = jnp.where(m, leaf, jnp.zeros((), leaf.dtype))
  return trees.replace(params, new)


def masked(name, init_mask, update=None) -> Transform:
  """A transform whose state holds masks under "mask"."""

  def init(key, params):
    return params, init_mask(key, params)

  def apply(params, state, step=0):
    del step
    return apply_masks(params, state["mask"])

  how = {} if update is None else {"update": update}
  return Transform(
    name, "mask", init, apply, constrain=apply, finalize=apply, **how
  )


def level(path: str, sparsity: float, gentle: Mapping[str, float]) -> float:
  """A layer's sparsity: the target times the factor of what it matches."""
  for pattern, factor in gentle.items():
    if trees.matches(path, pattern):
      return sparsity * factor
  return sparsity


def check_sparsity(name: str, sparsity: float) -> None:
  """Refuses a sparsity outside [0, 1)."""
  if not 0 <= sparsity < 1:
    raise UsageError(f"{name}:{sparsity:g}: a sparsity is at least 0, below 1")


def cubic(
  sparsity: float, first: float, begin: int, end: int, every: int
) -> Float[np.ndarray, "k"]:
  """The sparsity at each pruning event.

  Equation: s_t = s_f + (s_i - s_f) (1 - (t - t0) / (n dt))^3
  Source: Zhu and Gupta 2017, eq. 1

  Args:
    sparsity: s_f.
    first: s_i.
    begin: t0.
    end: t0 + n dt; the last event is at or before it.
    every: dt.

  Returns:
    One number an event, the last one s_f.
  """
  n = max(1, (end - begin) // every)
  part = np.arange(n + 1) / n
  return sparsity + (first - sparsity) * (1 - part) ** 3


def prune(
  sparsity: float,
  *,
  include: trees.Patterns = "*",
  gentle: Mapping[str, float] | None = None,
  scope: str = "local",
  random: bool = False,
  schedule: tuple[int, int, int] | None = None,
) -> Transform:
  """Keeps the largest weights.

  Args:
    sparsity: the part of weights that ends at zero.
    include: patterns of the kernels' paths.
    gentle: by pattern, a factor on the sparsity ({"*head*": 0.5}); local only.
    scope: "local" prunes every layer alike, "global" all layers together.
    random: keeps weights at random instead (the baseline).
    schedule: (begin, end, every): sparsity rises from 0 by `cubic`; None prunes
      once, in `init`.

  Returns:
    The transform; its state holds bool masks by path.

  Raises:
    UsageError: for numbers out of range; in `init`, where nothing matches.
  """
  name = "random" if random else "gradual" if schedule else "prune"
  check_sparsity(name, sparsity)
  if scope not in ("local", "global"):
    raise UsageError(f"{name}: scope is {scope!r}; it is local or global")
  if random and schedule:
    raise UsageError("random masks are drawn once, without a schedule")
  gentle = {"*head*": 0.5} if gentle is None else gentle
  for factor in gentle.values():
    check_sparsity(name, sparsity * factor)

  def counts(weights, s):
    if scope == "global":
      return kept(sum(w.size for w in weights.values()), s)
    return {p: kept(w.size, level(p, s, gentle)) for p, w in weights.items()}

  def find(params):
    weights = trees.kernels(params, include)
    if not weights:
      raise UsageError(f"{name}: no kernel's path matches {include!r}")
    return weights

  def init_mask(key, params):
    weights = find(params)
    if schedule:
      return {"mask": {p: jnp.ones(w.shape, bool) for p, w in weights.items()}}
    sizes = {p: jnp.abs(w) for p, w in weights.items()}
    if random:
      sizes = {
        p: jax.random.uniform(jax.random.fold_in(key, i), w.shape)
        for i, (p, w) in enumerate(weights.items())
      }
    return {"mask": masks(sizes, counts(weights, sparsity))}

  def update(state, params, grads, step):
    del grads
    begin, end, every = schedule
    weights = {p: trees.get(params, p) for p in state["mask"]}
    levels = cubic(sparsity, 0.0, begin, end, every)
    # Exact counts, made on the host and looked up by the event's number.
    table = [counts(weights, float(s)) for s in levels]
    table = jax.tree.map(lambda *k: jnp.asarray(k, jnp.int32), *table)
    event = (step - begin) // every
    due = (step >= begin) & ((step - begin) % every == 0)
    due &= event < len(levels)
    now = jax.tree.map(lambda t: t[jnp.clip(event, 0, len(levels) - 1)], table)

    def again(mask):
      sizes = {
        # What was pruned comes last, also among weights that became 0.
        p: jnp.where(mask[p], jnp.abs(w), -1.0)
        for p, w in weights.items()
      }
      return masks(sizes, now)

    return {"mask": jax.lax.cond(due, again, lambda m: m, state["mask"])}

  return masked(name, init_mask, update if schedule else None)
