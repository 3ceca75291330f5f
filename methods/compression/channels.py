"""Scheme (a): whole channels, chosen by norms or by the norms' scales.

Sources: Li et al. 2017 (arXiv 1608.08710), the L1 norm of a filter; Liu et al.
2017 (arXiv 1708.06519), network slimming: an L1 penalty on the scales of batch
normalisation while training, then one threshold for all layers. The network
that is cut is proven equal to the masked one on a probe batch.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax.errors import UsageError
from kd_jax.methods.compression import dependencies, trees
from kd_jax.methods.compression.model import Model
from kd_jax.methods.compression.protocol import Transform

PyTree = Any
TOLERANCE = 1e-5
PROBES = 8


def filters(
  model: Model,
  ratio: float,
  *,
  greedy: bool = False,
  round_to: int = 1,
  tied: bool = False,
) -> Transform:
  """Removes the filters of the smallest L1 norm, layer by layer.

  Equation: score_j = sum |W_..j|
  Source: Li et al. 2017, section 3.1; greedy: 3.2

  Args:
    model: the network.
    ratio: the part of each layer's channels that goes; of the parameters about
      1 - (1 - ratio)^2 go.
    greedy: leaves inputs that are gone already out of the score.
    round_to: the channels that stay are a multiple of it, where there are as
      many.
    tied: also cuts channels that several layers share through additions; the
      module's Python must then not compare widths.

  Returns:
    The transform; it trains as it is, `rebuild` cuts.

  Raises:
    UsageError: for a ratio outside [0, 1); in `rebuild`, where nothing can go,
      or the smaller network is not the masked one.
  """
  _check("filters", ratio, round_to)

  def choose(variables, channels):
    params, gone = variables["params"], []
    for group in _groups(channels, tied):
      kept = dependencies.zero({"params": params}, channels, gone)
      weights = trees.flatten(kept if greedy else {"params": params})
      score = _scores(group, dependencies.producers(channels, group), weights)
      gone += _lowest(score, ratio, round_to)
    return gone

  return _shape("filters", model, choose)


def slimming(
  model: Model,
  ratio: float,
  *,
  penalty: float = 1e-4,
  least: int = 1,
  round_to: int = 1,
  tied: bool = False,
) -> Transform:
  """Removes the channels of the smallest norm scales, over all layers.

  Equation: L + lambda sum |gamma|, its subgradient sign(gamma)
  Source: Liu et al. 2017, eq. 1

  Args:
    model: the network; it has batch normalisation.
    ratio: the part of all channels that goes.
    penalty: lambda; the paper's is 1e-4 (VGG) and 1e-5 (ResNet, DenseNet).
    least: channels that stay in a layer whatever the threshold (it may empty a
      layer otherwise).
    round_to: as in `filters`.
    tied: as in `filters`.

  Returns:
    The transform.

  Raises:
    UsageError: for numbers out of range; in `rebuild`, without norms.
  """
  _check("slimming", ratio, round_to)
  if not (penalty >= 0 and least >= 1):
    raise UsageError("slimming: penalty is at least 0, least at least 1")

  def regularise(grads, params, state):
    del state
    scales = {
      path: leaf + penalty * jnp.sign(trees.get(params, path))
      for path, leaf in trees.flatten(grads).items()
      if path.split("/")[-1] == "scale"
    }
    if not scales:
      raise UsageError(_BARE)
    return trees.replace(grads, scales)

  def choose(variables, channels):
    found = []
    leaves = trees.flatten(variables)
    for group in _groups(channels, tied):
      scales = [s for s in group if s[0].endswith("/scale")]
      if scales:
        found.append(_scores(group, scales, leaves))
    if not found:
      raise UsageError(_BARE)
    every = np.sort(np.concatenate([list(s.values()) for s in found]))
    count = int(ratio * len(every))
    threshold = every[count - 1] if count else -np.inf
    gone = []
    for score in found:
      below = sum(v <= threshold for v in score.values())
      most = max(0, len(score) - least)
      gone += _lowest(score, min(below, most) / len(score), round_to)
    return gone

  shape = _shape("slimming", model, choose)
  return Transform(
    "slimming",
    "shape",
    shape.init,
    regularise=regularise,
    rebuild=shape.rebuild,
  )


_BARE = "slimming needs batch normalisation, and this network has no scales"


def _check(name: str, ratio: float, round_to: int) -> None:
  if not 0 <= ratio < 1:
    raise UsageError(f"{name}:{ratio:g}: the ratio is at least 0, below 1")
  if round_to < 1:
    raise UsageError(f"{name}: round_to is {round_to}; it is at least 1")


def _groups(channels, tied) -> list[dependencies.Group]:
  """Groups with a kernel that produces them; one only unless `tied`."""
  found = []
  for group in channels.groups:
    kernels = dependencies.producers(channels, group)
    makers = [p for p, _ in kernels if p not in channels.depthwise]
    if len(makers) == 1 or (tied and makers):
      found.append(group)
  return found


def _scores(group, slots, leaves) -> dict[int, float]:
  """The sum of magnitudes of each component over some slots."""
  classes = dependencies.classes(group)
  total = np.zeros(classes.max() + 1)
  for path, axis in slots:
    size = np.abs(np.asarray(leaves[path], np.float64))
    size = size.sum(tuple(d for d in range(size.ndim) if d != axis))
    total += np.bincount(group[path, axis], size, len(total))
  return {int(c): float(total[c]) for c in classes}


def _lowest(score: dict[int, float], ratio: float, round_to: int) -> list[int]:
  """The components to remove; of equal scores the later ones."""
  n = len(score)
  stay = max(1, n - int(ratio * n + 1e-9))
  if n >= round_to:
    stay = min(n, -(-stay // round_to) * round_to)
  order = sorted(score, key=lambda c: (-score[c], c))
  return order[stay:]


def _shape(name: str, model: Model, choose: Callable[..., list[int]]):
  def init(key, params):
    del key
    return params, {}

  def rebuild(variables):
    channels = model.channels(variables)
    gone = choose(variables, channels)
    return shrink(model, variables, channels, gone, name)

  return Transform(name, "shape", init, rebuild=rebuild)


def shrink(
  model: Model,
  variables: PyTree,
  channels: dependencies.Channels,
  gone: list[int],
  name: str = "the cut",
) -> tuple[PyTree, dict[str, float]]:
  """Cuts channels out, and proves that the masked network is the same.

  Args:
    model: the network.
    variables: host arrays.
    channels: read from it.
    gone: components to remove.
    name: of the scheme, for the messages.

  Returns:
    The smaller variables, and {"gap": the largest difference of logits on a
    probe batch, over their largest size if that is above 1}.

  Raises:
    UsageError: if there is nothing to remove, the module does not run at the
      new shapes, or the difference exceeds 1e-5.
  """
  if not channels.groups:
    raise UsageError(f"{name}: no channel of this network can be removed")
  small = dependencies.cut(variables, channels, gone)
  masked = dependencies.zero(variables, channels, gone)
  gap = difference(model, masked, small, name)
  if not gap <= TOLERANCE:
    raise UsageError(
      f"{name}: the smaller network differs from the masked one by {gap:.2g}; "
      "a layer of this module depends on channels in a way that is not seen"
    )
  return small, {"gap": gap}


def difference(
  model: Model, a: PyTree, b: PyTree, name: str = "the network"
) -> float:
  """The largest difference of two networks' logits on a probe batch.

  Args:
    model: the module of both.
    a: variables.
    b: other variables.
    name: for the message.

  Returns:
    max |f_a - f_b| / max(1, max |f_a|).

  Raises:
    UsageError: if the module does not run on `b`.
  """
  x = jax.random.normal(jax.random.key(0), (PROBES, *model.image))
  logits = jax.jit(model.logits)
  try:
    of_b = logits(b, x)
  except Exception as error:  # Whatever a user's module raises.
    line = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise UsageError(
      f"{name}: the module does not run with fewer channels ({line}); leave "
      "shared channels alone (tied=False), or keep its Python from comparing "
      "widths"
    ) from error
  of_a = logits(a, x)
  size = jnp.maximum(1.0, jnp.abs(of_a).max())
  return float(jnp.abs(of_a - of_b).max() / size)
