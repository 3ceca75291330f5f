"""A network as the schemes see it: a linen module and the inputs it takes."""

import dataclasses
import functools
import inspect
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kd_jax import augment
from kd_jax.errors import UsageError
from kd_jax.methods.compression import dependencies, network, trees

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Model:
  """A classifier, ours or a user's.

  Attributes:
    module: any linen module; it returns logits, or something with `logits`.
      If its `__call__` takes `train` it is told so, and likewise `where`; one
      with a field `axis_name` has its batch statistics over all devices.
    image: the shape of one input.
    mean: subtracted from inputs by `prepare`, for each channel or all.
    std: what they are divided by then.
  """

  module: nn.Module
  image: tuple[int, ...]
  mean: tuple[float, ...] = (0.0,)
  std: tuple[float, ...] = (1.0,)

  def init(self, key: Array) -> dict[str, PyTree]:
    """New variables, as plain dicts.

    Args:
      key: draws them.

    Returns:
      "params", and "batch_stats" if there are any.
    """
    x = jnp.zeros((1, *self.image))
    made = self.module.init(key, x, **self._how(train=False))
    return {k: dict(v) for k, v in made.items()}

  def shapes(self) -> dict[str, PyTree]:
    """The shapes of new variables.

    Returns:
      As `init`, of `jax.ShapeDtypeStruct`.

    Raises:
      UsageError: if the network does not run on such images.
    """
    try:
      found = jax.eval_shape(self.init, jax.random.key(0))
    except Exception as error:  # Whatever a module raises.
      lines = str(error).splitlines() or [type(error).__name__]
      raise self._too_small(lines[0]) from error
    # Flax on JAX 0.11 draws kernels of no rows, too.
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
      if getattr(path[-1], "key", "") == "kernel" and not leaf.size:
        raise self._too_small("a layer has no inputs")
    return found

  def _too_small(self, why: str) -> UsageError:
    size = "x".join(map(str, self.image))
    return UsageError(
      f"the network {type(self.module).__name__} does not run on images of "
      f"{size} ({why}); are they too small?"
    )

  def prepare(self, images: Array) -> Float[Array, "b *i"]:
    """Bytes to normalised pixels; floats are taken as they are.

    Args:
      images: uint8, or float.

    Returns:
      float32.
    """
    x = jnp.asarray(images)
    if x.dtype == jnp.uint8:
      x = augment.to_float(x)
    wide = (1,) * (x.ndim - 1) + (-1,)
    mean, std = (np.asarray(v, np.float32) for v in (self.mean, self.std))
    return (x - mean.reshape(wide)) / std.reshape(wide)

  def logits(
    self, variables: PyTree, x: Float[Array, "b *i"], **how: Any
  ) -> Float[Array, "b c"]:
    """Class scores, in evaluation mode.

    Args:
      variables: "params" in any form, and "batch_stats".
      x: prepared inputs.
      **how: as in `network.run`.

    Returns:
      The logits.
    """
    run = network.run(self.module, **how)
    return _logits(run(variables, x, **self._how(train=False)))

  def features(self, variables: PyTree, x: Float[Array, "b *i"]) -> Any:
    """What the module returns, in evaluation mode.

    Args:
      variables: as in `logits`.
      x: prepared inputs.

    Returns:
      `backbones.Features`, of our networks.
    """
    run = network.run(self.module)
    return run(variables, x, **self._how(train=False))

  def tapped(
    self, variables: PyTree, x: Float[Array, "b *i"], path: str
  ) -> Float[Array, "b *n"]:
    """What goes into a layer, in evaluation mode.

    Args:
      variables: as in `logits`.
      x: prepared inputs.
      path: of the layer's kernel.

    Returns:
      The layer's input.
    """
    found, watch = _tap(path)
    self.logits(variables, x, watch=watch)
    return found[0]

  def train(
    self,
    variables: PyTree,
    x: Float[Array, "b *i"],
    key: Array,
    where: Array | None = None,
    axis_name: str | None = None,
  ) -> tuple[Float[Array, "b c"], dict[str, PyTree]]:
    """Class scores in training mode.

    Args:
      variables: "params" in any form, and the collections that move.
      x: prepared inputs.
      key: for dropout.
      where: rows that enter batch statistics.
      axis_name: the axis that these are gathered over.

    Returns:
      The logits and the moved collections.
    """
    found, moved = self.train_features(variables, x, key, where, axis_name)
    return _logits(found), moved

  def train_tapped(
    self,
    variables: PyTree,
    x: Float[Array, "b *i"],
    path: str,
    *how: Any,
  ) -> tuple[Float[Array, "b *n"], dict[str, PyTree]]:
    """What goes into a layer in training mode.

    Args:
      variables: as in `train`.
      x: prepared inputs.
      path: of the layer's kernel.
      *how: `key`, `where` and `axis_name`, as in `train`.

    Returns:
      The layer's input and the moved collections.
    """
    found, watch = _tap(path)
    _, moved = self.train_features(variables, x, *how, watch=watch)
    return found[0], moved

  def train_features(
    self,
    variables: PyTree,
    x: Float[Array, "b *i"],
    key: Array,
    where: Array | None = None,
    axis_name: str | None = None,
    **how: Any,
  ) -> tuple[Any, dict[str, PyTree]]:
    """What the module returns in training mode; as `train`."""
    module = self.module
    if axis_name is not None and hasattr(module, "axis_name"):
      module = module.clone(axis_name=axis_name)
    found, moved = network.run(module, **how)(
      variables,
      x,
      mutable=[name for name in variables if name != "params"],
      rngs={"dropout": key},
      **self._how(train=True, where=where),
    )
    return found, {k: dict(v) for k, v in moved.items()}

  def order(self, variables: PyTree) -> tuple[str, ...]:
    """Paths of the layers' kernels, in the order of their calls.

    Args:
      variables: arrays or shapes.

    Returns:
      The paths, each once.
    """
    found: dict[str, None] = {}

    def watch(module, x, y):
      name = "/".join((*module.path, "kernel"))
      if trees.get(variables["params"], name) is not None:
        found[name] = None

    x = jax.ShapeDtypeStruct((2, *self.image), jnp.float32)
    jax.eval_shape(lambda v, x: self.logits(v, x, watch=watch), variables, x)
    return tuple(found)

  def channels(self, variables: PyTree) -> dependencies.Channels:
    """The removable channels of this network as it is now.

    Args:
      variables: arrays or shapes.

    Returns:
      What `dependencies.read` finds.
    """
    x = jax.ShapeDtypeStruct((2, *self.image), jnp.float32)
    return dependencies.read(
      lambda v, x: self.logits(v, x, native=True), variables, x
    )

  def _how(self, **known: Any) -> dict[str, Any]:
    """What of this the module's call takes."""
    takes = inspect.signature(type(self.module).__call__).parameters
    return {k: v for k, v in known.items() if k in takes and v is not None}


def compiled(model: Model) -> Any:
  """The compiled `model.logits`, one for equal models."""
  try:
    return _compiled(model)
  except TypeError:  # A user's module with fields that have no hash.
    return jax.jit(model.logits)


@functools.lru_cache(maxsize=64)
def _compiled(model):
  return jax.jit(model.logits)


def _tap(path):
  """A list that a layer's input is put into, and who puts it there."""
  found: list[Array] = []

  def watch(module, x, y):
    if "/".join((*module.path, "kernel")) == path:
      found.append(x)

  return found, watch


def _logits(found: Any) -> Array:
  if isinstance(found, Mapping):
    return found["logits"]
  return getattr(found, "logits", found)
