"""Integers all through: ranges of activations, and norms folded into kernels.

While an 8-bit network is trained its layers note the smallest and the largest
input in the collection "ranges", as moving averages, and after a delay see
their inputs as 8-bit codes would give them. A norm is folded before: W_fold =
gamma W / sqrt(var + eps), b_fold = beta - gamma mu / sqrt(var + eps).

Source: Jacob et al. 2018, arXiv 1712.05877, sections 3.1 and 3.2
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kd_jax.errors import UsageError
from kd_jax.methods.compression import integers, trees
from kd_jax.methods.compression.protocol import Transform

PyTree = Any
DECAY = 0.99


def observe(
  scope: Any, x: Float[Array, "..."], parts: Mapping[str, Any]
) -> tuple[Float[Array, "..."], Any]:
  """Notes a layer's input, and after the delay gives it rounded.

  Args:
    scope: the layer's variables.
    x: its input.
    parts: "kernel", as the layer shall see it, and "delay" in steps.

  Returns:
    The input, and the kernel.
  """
  zero = {k: jnp.float32(0) for k in ("low", "high", "count")}
  old = {
    k: jnp.asarray(scope.get_variable("ranges", k, v)) for k, v in zero.items()
  }
  if scope.is_mutable_collection("ranges"):
    rate = jnp.where(old["count"] > 0, 1 - DECAY, 1.0)
    seen = {"low": x.min(), "high": x.max()}
    for k, v in seen.items():
      v = jax.lax.stop_gradient(v).astype(jnp.float32)
      old[k] = old[k] + rate * (v - old[k])
      scope.put_variable("ranges", k, old[k])
    scope.put_variable("ranges", "count", old["count"] + 1)
  coarse = integers.fake_activations(x, old["low"], old["high"])
  return (
    jnp.where(old["count"] >= parts["delay"], coarse, x),
    parts["kernel"],
  )


def eight_bit(*, delay: int = 50, include: trees.Patterns = "*") -> Transform:
  """8-bit weights and activations, trained through their rounding.

  Args:
    delay: steps before activations are rounded, for ranges to settle.
    include: patterns of the kernels' paths.

  Returns:
    The transform. The network it is applied with must carry the collection
    "ranges"; after `finalize`, `attach` puts them beside the kernels.

  Raises:
    UsageError: for a delay below 0; in `init`, where nothing matches.
  """
  if not delay >= 0:
    raise UsageError(f"int8full: delay is {delay}; it is at least 0")

  def project(params, state, step=0):
    del state, step
    new = {
      p: {
        "fake": {
          "kernel": integers.fake_weights(w, 8),
          "delay": jnp.float32(delay),
        }
      }
      for p, w in trees.kernels(params, include).items()
    }
    return trees.replace(params, new)

  def finalize(params, state):
    del state
    new = {}
    for p, w in trees.kernels(params, include).items():
      scale = integers.scale_of(w, 8)
      q = integers.quantize(w, scale, 8).astype(jnp.int8)
      new[p] = {"scaled": {"q": q, "scale": scale}}
    return trees.replace(params, new)

  def init(key, params):
    del key
    if not trees.kernels(params, include):
      raise UsageError(f"int8full: no kernel's path matches {include!r}")
    return params, {}

  return Transform("int8full", "values", init, project, finalize=finalize)


def attach(params: PyTree, found: PyTree) -> PyTree:
  """Gives scaled kernels the ranges of their inputs: integer layers.

  Args:
    params: finished parameters.
    found: the collection "ranges".

  Returns:
    The parameters; {"scaled"} becomes {"quantized"} where a range is known.
  """
  new = {}
  for path, low in trees.flatten(found).items():
    layer, _, last = path.rpartition("/")
    kernel = trees.get(params, f"{layer}/kernel/scaled")
    if last == "low" and kernel is not None:
      high = trees.get(found, f"{layer}/high")
      scale, zero = integers.range_of(jnp.asarray(low), jnp.asarray(high))
      new[f"{layer}/kernel"] = {
        "quantized": {**kernel, "in_scale": scale, "in_zero": zero}
      }
  return trees.replace(params, new)


def foldable(model: Any, variables: PyTree) -> dict[str, tuple[str, float]]:
  """Norms that a convolution or dense layer feeds directly.

  Args:
    model: a `model.Model`.
    variables: arrays or shapes.

  Returns:
    {norm's path: (layer's path, the norm's epsilon)}.
  """
  made: dict[int, str] = {}
  kept: list[Any] = []  # An id is of an object as long as it is there.
  found: dict[str, tuple[str, float]] = {}

  def watch(module, x, y):
    name = "/".join(module.path)
    if hasattr(module, "epsilon"):
      if id(x) in made:
        found[name] = made[id(x)], module.epsilon
    else:
      made[id(y)] = name
      kept.append(y)

  x = jax.ShapeDtypeStruct((2, *model.image), jnp.float32)
  jax.eval_shape(lambda v, x: model.logits(v, x, watch=watch), variables, x)
  return found


def fold(model: Any, variables: PyTree) -> PyTree:
  """Folds every norm that follows a layer into it.

  Args:
    model: a `model.Model`.
    variables: host arrays, "batch_stats" among them.

  Returns:
    Variables without these norms: the layer's kernel and bias do their work.

  Raises:
    UsageError: if the module has no norm to fold.
  """
  found = foldable(model, variables)
  if not found:
    raise UsageError("fold: no norm follows a layer of this network directly")
  leaves = trees.flatten(variables)
  for norm, (layer, epsilon) in found.items():
    scale, bias = (leaves.pop(f"params/{norm}/{k}") for k in ("scale", "bias"))
    mean, var = (leaves.pop(f"batch_stats/{norm}/{k}") for k in ("mean", "var"))
    factor = np.asarray(scale) / np.sqrt(np.asarray(var) + epsilon)
    kernel = f"params/{layer}/kernel"
    own = leaves.get(f"params/{layer}/bias", 0.0)
    leaves[kernel] = np.asarray(leaves[kernel]) * factor
    leaves[f"params/{layer}/bias"] = np.asarray(
      bias + factor * (own - np.asarray(mean)), np.float32
    )
  return trees.unflatten(leaves)


def folding(model: Any) -> Transform:
  """`fold` as a step of a pipeline.

  Args:
    model: a `model.Model`.

  Returns:
    The transform, of kind "shape".
  """
  from kd_jax.methods.compression import channels

  def init(key, params):
    del key
    return params, {}

  def rebuild(variables):
    small = fold(model, variables)
    gap = channels.difference(model, variables, small, "fold")
    if not gap <= 1e-4:
      raise UsageError(f"fold: the folded network differs by {gap:.2g}")
    return small, {"gap": gap}

  return Transform("fold", "shape", init, rebuild=rebuild)
