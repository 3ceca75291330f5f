"""The benchmark's rows: scoring, discovery and what the regulariser adds.

A step scores, or counts, so many representations; "ex/s" counts these. The work
is bound by memory: about ten operations an entry that is read from it.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from kd_jax import experiment, losses, metrics
from kd_jax.methods.qscore import peers
from kd_jax.metrics import mean

EXAMPLES, WIDTH, EPS = 10_000, 2048, 4.0
VIEWS = 512


@struct.dataclass
class Carried:
  """What a step carries.

  Attributes:
    step: steps taken.
    sink: something of what was computed, so that it is not left out.
  """

  step: jax.Array
  sink: jax.Array


@functools.lru_cache(maxsize=2)
def draw(n: int, r: int) -> dict[str, np.ndarray]:
  """Sparse representations, and half of their coordinates for D.

  Args:
    n: how many.
    r: of how many coordinates.

  Returns:
    "h" and "chosen".
  """
  rng = np.random.default_rng(0)
  h = np.maximum(rng.standard_normal((n, r), np.float32) - 1, 0)
  return {"h": h, "chosen": rng.uniform(size=r) < 0.45}


def _phase(name, n, work) -> experiment.Phase:
  def step(state, data, *, axis_name=None):
    del axis_name
    # Zero, but of what is carried, so that nothing moves out of the loop.
    value = work(data["h"], data["chosen"], 0 * state.sink)
    state = Carried(state.step + 1, value)
    return state, {"value": mean(value)}

  return experiment.Phase(
    name=name,
    init=lambda products, seed: Carried(jnp.int32(0), jnp.float32(0)),
    step=step,
    steps=100,
    data=draw(n, WIDTH),
    batch_size=n,
  )


def score_case() -> experiment.Phase:
  """The scores of representations.

  Returns:
    The phase to time.
  """
  return _phase(
    "score",
    EXAMPLES,
    lambda h, d, zero: metrics.q_score(h, d, eps=EPS + zero).sum(),
  )


def discover_case() -> experiment.Phase:
  """Counts of what stands out, one pass of discovery.

  Returns:
    The phase to time.
  """
  return _phase(
    "discover",
    EXAMPLES,
    lambda h, d, zero: metrics.active_counts(h, EPS + zero).total.sum(),
  )


def penalty_case() -> experiment.Phase:
  """Value and gradient of both penalties, on a batch of views.

  Returns:
    The phase to time.
  """

  def work(h, chosen, zero):
    def loss(h):
      terms = {
        "q": losses.q_score_loss(h, chosen, eps=EPS),
        "columns": losses.column_loss(h),
      }
      return losses.combine(terms, {"q": 1e-4, "columns": 1e-4})[0]

    value, grad = jax.value_and_grad(loss)(h + zero)
    return value + grad.sum()

  return _phase("penalties", VIEWS, work)


def _numpy():
  own = draw(EXAMPLES, WIDTH)

  def run(n):
    for _ in range(n):
      peers.numpy_score(own["h"], own["chosen"], EPS)

  return run


def _torch():
  import torch

  own = {k: torch.from_numpy(v) for k, v in draw(EXAMPLES, WIDTH).items()}

  def run(n):
    with torch.no_grad():
      for _ in range(n):
        peers.torch_score(own["h"], own["chosen"], EPS)

  return run


def _floor():
  """One pass over the same array that does nothing but add it up."""
  h, add = jnp.asarray(draw(EXAMPLES, WIDTH)["h"]), jax.jit(jnp.sum)

  def run(n):
    for _ in range(n):
      jax.block_until_ready(add(h))

  return run


FLOOR = experiment.Peer("one pass that adds", _floor)
CASES = (
  experiment.Case(
    name=f"Q-Scores of {EXAMPLES:,} x {WIDTH:,}",
    make=score_case,
    peers=(
      FLOOR,
      experiment.Peer("NumPy, plain", _numpy),
      experiment.Peer("PyTorch, plain", _torch),
    ),
  ),
  experiment.Case(
    name=f"discovery, {EXAMPLES:,} x {WIDTH:,}",
    make=discover_case,
    peers=(FLOOR,),
  ),
  experiment.Case(
    name=f"penalties and gradient, {VIEWS} x {WIDTH:,}", make=penalty_case
  ),
)
