"""Hyper-deep ensembles of anything that is trained by a pure function.

`train(key, lam, data) -> member` is a whole training: a pytree from a key and a
vector of hyperparameters. It is vmapped, so that a search over fifty vectors is
one program, and divided over the devices by pmap.
"""

import dataclasses
import numbers
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from kd_jax import accel, metrics
from kd_jax.errors import UsageError
from kd_jax.methods.hyper_ensembles import greedy, validate
from kd_jax.methods.hyper_ensembles.measures import COLLAPSED
from kd_jax.methods.hyper_ensembles.space import Space
from kd_jax.training.progress import duration

PyTree = Any
Train = Callable[[Key[Array, ""], Float[Array, "h"], PyTree], PyTree]
Predict = Callable[[PyTree, Any], Float[Array, "n c"]]


@dataclasses.dataclass(frozen=True)
class HyperDeep:
  """A hyper-deep ensemble.

  Attributes:
    members: stacked, as many as differ.
    weights: of each one's probabilities; they add up to 1.
    lams: hyperparameters of each.
    names: of the hyperparameters.
    nll: on the validation data that it was selected by.
    single: of the best single member of the search, there.
    first: of the greedy ensemble before stratification, there.
    trainings: how many there were.
    predict: of one member.
  """

  members: PyTree
  weights: Float[np.ndarray, "k"]
  lams: Float[np.ndarray, "k h"]
  names: tuple[str, ...]
  nll: float
  single: float
  first: float
  trainings: int
  predict: Predict

  def __call__(self, inputs: Any) -> Float[Array, "n c"]:
    """The ensemble's probabilities.

    Args:
      inputs: what `predict` takes.

    Returns:
      The weighted mean of the members' probabilities.
    """
    logits = jax.vmap(lambda m: self.predict(m, inputs))(self.members)
    p = jax.nn.softmax(logits)
    return jnp.einsum("k,knc->nc", self.weights, p, precision="highest")


def run_all(
  train: Train,
  keys: Key[Array, "n"],
  lams: Float[Array, "n h"],
  data: PyTree,
  devices: Sequence[jax.Device] | None = None,
) -> PyTree:
  """Trains n members in one program, divided over the devices.

  Args:
    train: a whole training, pure.
    keys: of each.
    lams: hyperparameters of each.
    data: what they all learn from.
    devices: all of them by default.

  Returns:
    The members, stacked.
  """
  devices = list(jax.devices() if devices is None else devices)
  many = jax.vmap(train, (0, 0, None))
  n, d = len(lams), len(devices)
  if d == 1:
    return accel.compiled(jax.jit(many).lower(keys, lams, data))(
      keys, lams, data
    )
  # The last ones are trained twice where devices do not divide them.
  fill = np.arange(-(-n // d) * d) % n
  shape = (d, -1)
  args = keys[fill].reshape(shape), lams[fill].reshape(*shape, lams.shape[1])
  run = jax.pmap(many, in_axes=(0, 0, None), devices=devices)
  found = accel.compiled(run.lower(*args, data), devices[0].platform)(
    *args, data
  )
  return jax.tree.map(
    lambda x: jnp.asarray(np.asarray(x).reshape(-1, *x.shape[2:])[:n]), found
  )


def hyper_deep_ensemble(
  train: Train,
  predict: Predict,
  space: Space,
  data: PyTree,
  validation: tuple[Any, Int[Array | np.ndarray, "n"]],
  *,
  members: int = 3,
  runs: int = 50,
  key: Key[Array, ""] | int = 0,
  stratify: bool = True,
  common_start: bool = False,
  objective: str = "nll",
  devices: Sequence[jax.Device] | None = None,
  say: Callable[[str], None] = print,
) -> HyperDeep:
  """Searches, selects, trains what was selected from other starts, selects.

  Before the search it says what it will cost: one training is run by itself and
  timed. Together they take less than as many alone.

  Source: Wenzel et al. 2020, arXiv 2006.13570, Algorithm 1

  Args:
    train: `(key, lam, data) -> member`, a whole training, pure and without
      Python that depends on values: it is vmapped. The key draws everything
      random in it.
    predict: `(member, inputs) -> logits`.
    space: the box of hyperparameters.
    data: passed to `train`.
    validation: inputs and labels to select by; not those to judge by.
    members: K, how many networks the ensemble may have.
    runs: of the random search.
    key: draws everything; a number is a seed.
    stratify: whether what the first selection takes is trained from K - 1 other
      keys.
    common_start: whether the runs of the search share a key. The paper's share
      initial values, not the order of the data: of a key for both few members
      are worth being chosen together.
    objective: see `greedy.score`.
    devices: all of them by default.
    say: takes lines of news.

  Returns:
    The ensemble.

  Raises:
    UsageError: for numbers that make no sense, predictions that do not fit the
      labels, or a search whose every run diverged (a run that did is passed
      over).
  """
  inputs, labels = _pair(validation)
  labels = np.asarray(labels)
  validate.check_search(members, runs, space, labels, objective)
  if devices is not None and not devices:
    raise UsageError("devices is empty; leave it out to take all")
  key = _key(key)
  lam = jnp.asarray(space.low, jnp.float32)
  member = jax.eval_shape(train, key, lam, data)
  logits = jax.eval_shape(predict, member, inputs)
  validate.check_predictions(logits, labels)
  draw, start = jax.random.split(key)
  lams = space.draw(draw, runs)
  starts = jax.random.split(start, runs + members)
  keys = starts[members:]
  if common_start:
    keys = jnp.broadcast_to(starts[:1], (runs,))
  _say_cost(train, keys, lams, data)(members, stratify, devices, say)

  def probabilities(stacked):
    logits = jax.lax.map(lambda m: predict(m, inputs), stacked)
    return jax.nn.softmax(logits)

  choose = jax.jit(
    lambda stacked: _choose(probabilities(stacked), labels, members, objective)
  )
  pool = run_all(train, keys, lams, data, devices)
  (picks, weights), found, single = choose(pool)
  if not found.counts.any():
    raise UsageError(
      f"all {runs} runs of the search predict numbers that are not finite"
    )
  first, trainings = float(found.score), runs
  if stratify:
    used = [int(i) for i, w in zip(picks, weights, strict=True) if w > 0]
    again = jnp.array(used)
    say(
      f"{len(used)} vectors are chosen, NLL {first:.4f} (the best alone "
      f"{float(single):.4f}); each is trained from {members - 1} other starts"
    )
    more = run_all(
      train,
      jnp.tile(starts[1:members], len(used)),
      jnp.repeat(lams[again], members - 1, 0),
      data,
      devices,
    )
    pool = jax.tree.map(lambda a, b: jnp.concatenate([a[again], b]), pool, more)
    lams = jnp.concatenate(
      [lams[again], jnp.repeat(lams[again], members - 1, 0)]
    )
    trainings += len(used) * (members - 1)
    (picks, weights), found, _ = choose(pool)
  kept = np.asarray(weights) > 0
  order = np.asarray(picks)[kept]
  say(f"{trainings} trainings; {kept.sum()} members, NLL {found.score:.4f}")
  chosen = jax.tree.map(lambda x: x[order], pool)
  if len(order) > 1:
    alike = float(jnp.mean(metrics.disagreement(probabilities(chosen))))
    if alike < COLLAPSED:
      say(
        f"the members disagree on less than {COLLAPSED:g} of the validation "
        "data: they are one network, trained several times"
      )
  return HyperDeep(
    members=chosen,
    weights=np.asarray(weights)[kept],
    lams=np.asarray(lams)[order],
    names=space.names,
    nll=float(found.score),
    single=float(single),
    first=first,
    trainings=trainings,
    predict=predict,
  )


def _choose(p, labels, members, objective):
  found = greedy.select(p, jnp.asarray(labels), members, objective=objective)
  alone = jnp.nanmin(greedy.score(p, jnp.asarray(labels)))
  return greedy.members(found.counts, min(members, len(p))), found, alone


def _pair(validation):
  if not isinstance(validation, tuple | list) or len(validation) != 2:
    raise UsageError("validation is not a pair; (inputs, labels) is needed")
  return validation


def _key(key):
  """A key; a seed and JAX's older keys, words of uint32, are made one."""
  if isinstance(key, numbers.Integral):
    return jax.random.key(int(key))
  dtype = getattr(key, "dtype", None)
  if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key):
    return key
  if dtype != jnp.uint32:
    raise UsageError(f"key is {key!r}; a whole number or a key is needed")
  return jax.random.wrap_key_data(key)


def _say_cost(train, keys, lams, data):
  """Trains one alone; gives a function that says what all of them will take."""
  one = accel.compiled(jax.jit(train).lower(keys[0], lams[0], data))
  begin = time.perf_counter()
  member = jax.block_until_ready(one(keys[0], lams[0], data))
  seconds = time.perf_counter() - begin
  size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(member))

  def tell(members, stratify, devices, say):
    runs = len(lams)
    more = members * (members - 1) if stratify else 0
    d = len(jax.devices() if devices is None else devices)
    most = seconds * (-(-runs // d) + -(-more // d))
    say(
      f"{runs} trainings, then at most {more}: at most {duration(most)} on {d} "
      f"device{'s' if d > 1 else ''} (one alone took {duration(seconds)}); "
      f"{(runs + more) * size / 2**20:.1f} MiB of members"
    )

  return tell
