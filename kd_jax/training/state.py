"""What a step carries, and the randomness it draws from where it stands.

Nothing random is carried: a key is a function of (seed, step, row), so that a
resumed run draws what the first would have drawn, and four devices draw
together what one draws alone.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Int, Key, UInt

PyTree = Any


@struct.dataclass
class State:
  """The state of a gradient-trained phase; methods add fields by subclassing.

  Attributes:
    step: steps taken so far.
    seed: the run's seed, an array so that one program serves every seed.
    params: what the optimizer changes.
    opt_state: the optimizer's own.
    model_state: what the forward pass changes (running statistics).
  """

  step: Int[Array, ""]
  seed: UInt[Array, ""]
  params: PyTree
  opt_state: PyTree
  model_state: PyTree

  @classmethod
  def create(
    cls,
    *,
    seed: int,
    params: PyTree,
    opt_state: PyTree,
    model_state: PyTree,
    **fields: Any,
  ) -> "State":
    """A state at step 0.

    Args:
      seed: the run's seed.
      params: the initial parameters.
      opt_state: the optimizer's initial state.
      model_state: the initial running statistics ({} if there are none).
      **fields: the fields that a subclass adds.

    Returns:
      The state.
    """
    return cls(
      step=jnp.int32(0),
      seed=jnp.uint32(seed),
      params=params,
      opt_state=opt_state,
      model_state=model_state,
      **fields,
    )


def step_key(state: State, stream: int = 0) -> Key[Array, ""]:
  """The key of this seed and step.

  Args:
    state: anything with `seed` and `step`.
    stream: keeps independent uses within one step apart.

  Returns:
    A key that depends on nothing else.
  """
  key = jax.random.key(state.seed)
  return jax.random.fold_in(jax.random.fold_in(key, stream), state.step)


def row_keys(key: Key[Array, ""], row: Int[Array, "b"]) -> Key[Array, "b"]:
  """One key per row of the global batch.

  Args:
    key: the step's key.
    row: the rows' places in the global batch (`batch["row"]`), never the
      device's index: folding that in makes the result depend on how many
      devices there are.

  Returns:
    The keys, in the order of the rows.
  """
  return jax.vmap(lambda r: jax.random.fold_in(key, r))(row)
