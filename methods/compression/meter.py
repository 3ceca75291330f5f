"""What compression saves, in every currency, and what it does not.

alpha = a / a* in parameters that are not zero, in bits that are stored, and in
bytes that were written. The survey prints its space-saving rate as (a - a*) /
a*, which is alpha - 1 and no part of a; both are reported, by their names.
Speed-up delta = s / s* is measured on this device, compilation aside, at batch
1 and 128, and of a training step.
"""

import functools
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kd_jax import flops
from kd_jax.methods.compression import forms, trees
from kd_jax.methods.compression.model import Model, compiled

PyTree = Any
BATCHES = (1, 128)
SAMPLES = 21
# Below it a difference in time is called none.
REAL = 1.05
# From how many times fewer multiply-adds on a speed-up is expected.
ON_PAPER = 1.2


def rates(before: float, after: float) -> dict[str, float]:
  """The survey's rates of a size.

  Args:
    before: a.
    after: a*.

  Returns:
    "alpha" = a / a*, "beta_survey" = (a - a*) / a*, "space_saving" =
    (a - a*) / a.
  """
  return {
    "alpha": before / after,
    "beta_survey": (before - after) / after,
    "space_saving": (before - after) / before,
  }


def deploy(variables: PyTree) -> PyTree:
  """Decodes once what would otherwise be decoded at each call.

  Args:
    variables: as read from a file.

  Returns:
    The same with shared and scaled weights as arrays. Integer layers, factors
    and tables stay what they are.
  """

  def walk(tree):
    if not isinstance(tree, Mapping):
      return jnp.asarray(tree)
    if len(tree) == 1 and forms.form(tree) in ("shared", "scaled"):
      return forms.value(tree)
    return {k: walk(v) for k, v in tree.items()}

  return {**variables, "params": walk(variables["params"])}


def multiply_adds(model: Model, variables: PyTree) -> int:
  """MACs of one image: a product and a sum count once.

  Args:
    model: the network.
    variables: in any form.

  Returns:
    The count. Zeros inside arrays count: no program here leaves them out.
    Transforms (FFT) are not counted.
  """
  x = jax.ShapeDtypeStruct((1, *model.image), jnp.float32)

  def apply(variables, x):
    return model.logits(variables, x, native=True)

  return flops.count(apply, variables, x) // 2


def seconds(
  run: Callable[[], Any], other: Callable[[], Any] | None = None
) -> tuple[float, float]:
  """Median times of two functions that take turns, compilation aside.

  Args:
    run: gives arrays to wait for.
    other: what it is compared with; `run` itself if None.

  Returns:
    Seconds of either.
  """
  other = other or run
  for fn in (run, other):
    for _ in range(3):
      jax.block_until_ready(fn())
  times: tuple[list[float], list[float]] = ([], [])
  for _ in range(SAMPLES):
    for fn, found in zip((run, other), times, strict=True):
      begin = time.perf_counter()
      jax.block_until_ready(fn())
      found.append(time.perf_counter() - begin)
  return statistics.median(times[0]), statistics.median(times[1])


class Speed(NamedTuple):
  """Times of the dense and of the smaller network, in seconds.

  Attributes:
    latency: by batch size, (dense, small).
    train: of a training step at the largest batch, (dense, small); None where
      the small network cannot be trained as it is (integers).
  """

  latency: dict[int, tuple[float, float]]
  train: tuple[float, float] | None


def speed(model: Model, dense: PyTree, small: PyTree) -> Speed:
  """Times two networks of one module, in turns.

  Args:
    model: the module of both.
    dense: variables.
    small: other variables.

  Returns:
    The times.
  """
  dense, small = (jax.device_put(deploy(v)) for v in (dense, small))
  logits, latency = compiled(model), {}
  for n in BATCHES:
    x = jax.random.normal(jax.random.key(n), (n, *model.image))
    latency[n] = seconds(lambda: logits(dense, x), lambda: logits(small, x))  # noqa: B023
  train = None
  if all(jnp.issubdtype(v.dtype, jnp.floating) for v in jax.tree.leaves(small)):
    x = jax.random.normal(jax.random.key(0), (max(BATCHES), *model.image))
    step = _compiled_training(model)
    train = seconds(lambda: step(dense, x), lambda: step(small, x))
  return Speed(latency, train)


def _compiled_training(model):
  try:
    return _training(model)
  except TypeError:  # A user's module with fields that have no hash.
    return _training.__wrapped__(model)


@functools.lru_cache(maxsize=64)
def _training(model):
  """A gradient step of SGD."""

  def loss(params, rest, x):
    logits, _ = model.train({"params": params, **rest}, x, jax.random.key(0))
    labels = jnp.zeros(x.shape[0], jnp.int32)
    each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return each.mean()

  @jax.jit
  def step(variables, x):
    rest = {k: v for k, v in variables.items() if k != "params"}
    grads = jax.grad(loss)(variables["params"], rest, x)
    return jax.tree.map(lambda p, g: p - 0.1 * g, variables["params"], grads)

  return step


FLAGS = ("zeros", "codes", "integers", "slower")


def flags(
  macs: tuple[int, int], latency: Mapping[int, float], tree: PyTree
) -> dict[str, str]:
  """Where a saving on paper is none on this device.

  Args:
    macs: of the dense and of the small network.
    latency: delta by batch size; empty if it was not measured.
    tree: the small network's variables, as read.

  Returns:
    Sentences by the names in `FLAGS`; none if all is as it seems.
  """
  found = {}
  names = {
    part
    for path in trees.flatten(tree["params"])
    for part in path.split("/")[-2:-1]
  }
  zeros = any(
    path.endswith("kernel") and np.mean(np.asarray(w) == 0) > 0.3
    for path, w in trees.flatten(deploy(tree)["params"]).items()
  )
  if zeros:
    found["zeros"] = (
      "zeros are multiplied as any number: delta = 1.0 (simulated)"
    )
  if names & {"scaled", "shared", "xnor"}:
    found["codes"] = (
      "few values save space alone, decoded once: delta = 1.0 (simulated)"
    )
  if "quantized" in names and max(latency.values(), default=1.0) < REAL:
    found["integers"] = (
      "8-bit integers are no faster here: delta = 1.0 (simulated)"
    )
  on_paper, slow = macs[0] / max(1, macs[1]), []
  if on_paper > ON_PAPER:
    slow = [f"{d:.2f} at batch {b}" for b, d in latency.items() if d < REAL]
  if slow:
    found["slower"] = (
      f"{on_paper:.1f} times fewer MACs are no speed-up: "
      f"delta = {', '.join(slow)}"
    )
  return found
