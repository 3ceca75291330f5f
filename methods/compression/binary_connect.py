"""Scheme (a): BinaryConnect, one bit a weight over latent real ones.

Source: Courbariaux, Bengio and David 2015, arXiv 1511.00363; the magnitude and
the rates are those of the authors' code. sign(0) is +1.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from kd_jax.methods.compression import trees, values
from kd_jax.methods.compression.integers import sign
from kd_jax.methods.compression.protocol import Transform, straight_through

PyTree = Any


def glorot(shape: tuple[int, ...]) -> float:
  """H = sqrt(1.5 / (fan_in + fan_out)), BinaryConnect's magnitude."""
  window = int(np.prod(shape[:-2], dtype=int))
  return float(np.sqrt(1.5 / (window * (shape[-2] + shape[-1]))))


def hard_sigmoid(x: Float[Array, "..."]) -> Float[Array, "..."]:
  """clip((x + 1) / 2, 0, 1): the chance of +1."""
  return jnp.clip((x + 1) / 2, 0.0, 1.0)


def stochastic_sign(
  key: Key[Array, ""], w: Float[Array, "..."], high: float
) -> Float[Array, "..."]:
  """+-H, +H with the chance hard_sigmoid(w / H)."""
  plus = jax.random.uniform(key, w.shape) < hard_sigmoid(w / high)
  return jnp.where(plus, high, -high).astype(w.dtype)


def binary_connect(
  *,
  stochastic: bool = False,
  include: trees.Patterns = "*",
  exclude: trees.Patterns = ("*head*",),
) -> Transform:
  """+-H with Glorot's H; latent weights are clipped to [-H, H].

  Deterministic networks are tested with their signs, stochastic ones with the
  latent weights: those save nothing, and are left as they are.

  Args:
    stochastic: draws signs anew at each step, +H with hard_sigmoid(w / H).
    include: patterns of the kernels' paths.
    exclude: patterns of what stays float.

  Returns:
    The transform; its optimizer should scale a layer's rate by 1 / H
    (`rates`).
  """

  def init(key, params, found):
    return {"key": jax.random.key_data(key)} if stochastic else {}

  def quantise(path, w, state, step):
    high = glorot(w.shape)
    if not stochastic:
      return straight_through(w, high * sign(w))
    key = jax.random.wrap_key_data(state["key"])
    key = jax.random.fold_in(jax.random.fold_in(key, step), _hash(path))
    return straight_through(w, stochastic_sign(key, w, high))

  def constrain(params, state, step=0):
    found = trees.kernels(params, include, exclude)
    return trees.replace(
      params,
      {
        p: jnp.clip(w, -glorot(w.shape), glorot(w.shape))
        for p, w in found.items()
      },
    )

  def parts(w, state):
    scale = jnp.full(w.shape[-1:], glorot(w.shape), w.dtype)
    return {"q": sign(w).astype(jnp.int8), "scale": scale}

  name = "stochastic_binary" if stochastic else "binary"
  how: dict[str, Any] = {"init": init, "constrain": constrain}
  made = values.scaled(name, quantise, parts, include, exclude, **how)
  if not stochastic:
    return made
  return Transform(name, "values", made.init, made.project, constrain=constrain)


def rates(params: PyTree) -> Callable[[PyTree], PyTree]:
  """Multiplies a binary layer's updates by 1 / H, as BinaryConnect does."""
  factors = {p: 1 / glorot(w.shape) for p, w in trees.kernels(params).items()}

  def scale(updates: Mapping[str, Any]) -> PyTree:
    new = {p: f * trees.get(updates, p) for p, f in factors.items()}
    return trees.replace(updates, new)

  return scale


def _hash(path: str) -> int:
  return sum((i + 1) * ord(c) for i, c in enumerate(path)) % 2**31
