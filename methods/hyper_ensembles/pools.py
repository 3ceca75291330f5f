"""Searches and strata: many independent trainings as one phase each."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt

from kd_jax import experiment
from kd_jax.errors import UsageError
from kd_jax.methods.hyper_ensembles import runs
from kd_jax.methods.hyper_ensembles.config import Config
from kd_jax.methods.hyper_ensembles.data import Tables
from kd_jax.methods.hyper_ensembles.plans import Plan

PyTree = Any
# Streams of a seed's draws.
LAMBDAS, EXTRA = 101, 102
# Places of seeds: those below are of initial values.
SEARCH, STRATA, RANDOM = 1000, 100_000, 200_000


@dataclasses.dataclass(frozen=True)
class Regime:
  """A setting with its data.

  Attributes:
    name: a key of `arms.REGIMES`.
    config: its configuration.
    tables: its data; None where nothing is trained any more.
  """

  name: str
  config: Config
  tables: Tables | None

  @property
  def prefix(self) -> str:
    """What its shared phases are called by."""
    return f"{self.name}_" if self.name else ""

  def key(self, phase: str) -> str:
    """The product of a shared phase."""
    return f"{self.prefix}{phase}"

  def plan(self, config: Config, kind: str, count: int = 1) -> Plan:
    """The plan of `count` networks of a kind for each seed.

    Args:
      config: of the arm.
      kind: of the networks.
      count: for each seed.

    Returns:
      The plan. Networks are divided over the devices where there are enough of
      them; else the devices share the rows of each batch.

    Raises:
      UsageError: if the devices do not divide such a batch.
    """
    devices = jax.device_count()
    split = config.seeds * count >= devices
    if not split and config.batch_size % devices:
      raise UsageError(
        f"batch_size is {config.batch_size}; {devices} devices do not divide it"
      )
    side = min(self.tables.shape[:2])
    if config.model == "lenet" and side < 4:
      raise UsageError(
        f"images are {self.tables.shape}; lenet halves them twice: 4x4 at "
        "least are needed"
      )
    images = self.tables.learn["train"].shape[1]
    return Plan(config, kind, self.tables.classes, images, split)


class Trainings(NamedTuple):
  """The networks that are trained for one seed of the run.

  Attributes:
    seeds: of order, lambda and masks.
    lams: hyperparameters; None to tune them.
    starts: seeds of the initial values; `seeds` if None.
  """

  seeds: UInt[Array, "n"]
  lams: Float[Array, "n h"] | None = None
  starts: UInt[Array, "n"] | None = None


def member_seed(
  seed: UInt[Array, ""], place: Int[Array, ""] | int
) -> UInt[Array, ""]:
  """A seed of a training, or of its initial values.

  Args:
    seed: of the run.
    place: which; 0 is that of the search's common initial values.

  Returns:
    A seed that depends on nothing else.
  """
  key = jax.random.fold_in(jax.random.key(seed), place)
  return jax.random.bits(key, (), jnp.uint32)


def member_seeds(
  seed: UInt[Array, ""], first: int, count: int
) -> UInt[Array, "n"]:
  """Seeds of many trainings.

  Args:
    seed: of the run.
    first: the place of the first.
    count: how many.

  Returns:
    The seeds.
  """
  places = first + jnp.arange(count)
  return jax.vmap(lambda place: member_seed(seed, place))(places)


def lambdas(
  plan: Plan, seed: UInt[Array, ""], count: int, stream: int = LAMBDAS
) -> Float[Array, "n h"]:
  """The vectors of a random search.

  Args:
    plan: has the box.
    seed: of the run.
    count: how many.
    stream: which of the seed's draws.

  Returns:
    The vectors.
  """
  key = jax.random.fold_in(jax.random.key(seed), stream)
  return plan.space.draw(key, count)


def phase(
  regime: Regime,
  plan: Plan,
  name: str,
  arm: str,
  count: int,
  choose: Callable[..., Trainings],
) -> experiment.Phase:
  """Trains `count` networks for each seed.

  Args:
    regime: its data.
    plan: of each network.
    name: of the phase.
    arm: it belongs to, or "".
    count: networks of a seed.
    choose: `(products, seed of the run, its place) -> Trainings`, pure.

  Returns:
    The phase; its product is the members, stacked to (seeds, n, ...).
  """
  seeds, tables = plan.config.seeds, regime.tables
  whole = seeds * count
  # Devices divide the networks: the last ones are trained twice if need be.
  padded = -(-whole // jax.device_count()) * jax.device_count()
  padded = padded if plan.split else whole

  def init(products, seed):
    places = jnp.arange(seeds, dtype=jnp.uint32)
    own = jax.vmap(lambda i: choose(products, seed + i, i))(places)
    table = jnp.repeat(jnp.arange(seeds, dtype=jnp.int32), count)
    fill: Int[Array, "n"] = jnp.arange(padded) % whole
    flat = jax.tree.map(lambda x: x.reshape(whole, *x.shape[2:])[fill], own)
    return runs.create(
      plan, tables.shape, flat.seeds, table[fill], flat.lams, flat.starts
    )

  def product(state):
    members = state.members.replace(opt_state=(), tuner=())
    return jax.tree.map(
      lambda x: x[:whole].reshape(seeds, count, *x.shape[1:]), members
    )

  return experiment.Phase(
    name=name,
    arm=arm,
    init=init,
    step=runs.make_step(plan),
    steps=plan.steps,
    data=tables.learn,
    product=product,
    batch_size=whole * plan.config.batch_size,
    split=runs.divided if plan.split else None,
    parts=plan.parts if plan.split else 1,
  )
