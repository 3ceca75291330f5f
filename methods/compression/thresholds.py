"""Scheme (a): masks by a threshold, in rounds of pruning and retraining.

Source: Han, Pool, Tran and Dally 2015, arXiv 1506.02626
"""

import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from kd_jax.errors import UsageError
from kd_jax.methods.compression import magnitude, trees
from kd_jax.methods.compression.protocol import Transform


def han(
  qualities: Mapping[str, float] | float,
  *,
  include: trees.Patterns = "*",
  rounds: Sequence[int] = (0,),
) -> Transform:
  """Masks |w| > q std(w), std of the dense layer, q rising over rounds.

  Args:
    qualities: q at the last round, by pattern or for all.
    include: patterns of the kernels' paths.
    rounds: the steps at which q takes its next value; q / n, 2 q / n, ... q.

  Returns:
    The transform; its state also holds the layers' "std". What is pruned stays
    pruned.
  """
  by = qualities if isinstance(qualities, Mapping) else {"*": qualities}
  rounds = tuple(rounds)
  if not rounds or any(not 0 < q < math.inf for q in by.values()):
    raise UsageError("han: q is above 0 and finite, and there is a round")

  def mask_at(weights, std, old, number):
    part = (number + 1) / len(rounds)
    found = {}
    for path, w in weights.items():
      q = magnitude.level(path, 1.0, by)
      found[path] = old[path] & (jnp.abs(w) > part * q * std[path])
    return found

  def init_mask(key, params):
    del key
    weights = trees.kernels(params, include)
    if not weights:
      raise UsageError(f"han: no kernel's path matches {include!r}")
    std = {p: w.std() for p, w in weights.items()}
    ones = {p: jnp.ones(w.shape, bool) for p, w in weights.items()}
    first = mask_at(weights, std, ones, 0) if rounds[0] == 0 else ones
    return {"mask": first, "std": std}

  def update(state, params, grads, step):
    del grads
    weights = {p: trees.get(params, p) for p in state["mask"]}
    at = jnp.asarray(rounds)
    number = jnp.argmax(at == step)

    def again(mask):
      return mask_at(weights, state["std"], mask, number)

    mask = jax.lax.cond((at == step).any(), again, lambda m: m, state["mask"])
    return {**state, "mask": mask}

  return magnitude.masked("han", init_mask, update)


def dropout_rate(rate: float, before: int, after: int) -> float:
  """Dropout for retraining a pruned layer.

  Equation: D_r = D_o sqrt(C_ir / C_io)
  Source: Han et al. 2015, eq. 1 (C counts a layer's connections)

  Args:
    rate: D_o.
    before: C_io.
    after: C_ir.

  Returns:
    D_r.
  """
  return rate * math.sqrt(after / before)
