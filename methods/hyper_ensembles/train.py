"""The phases: search, selection, strata, selection again; each arm's own."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import experiment
from kd_jax.errors import UsageError
from kd_jax.methods.hyper_ensembles import choosing, finals, learner, pools
from kd_jax.methods.hyper_ensembles import data as data_
from kd_jax.methods.hyper_ensembles.arms import ARMS, NAMES, in_regime, of_arm
from kd_jax.methods.hyper_ensembles.config import Config
from kd_jax.methods.hyper_ensembles.pools import Regime

PyTree = Any
Say = Callable[[str], None]
STRATIFIED = ("deep", "hyper_deep", "hyper_deep_once")


def phases(
  config: Config, data: Mapping[str, Any], say: Say
) -> list[experiment.Phase | experiment.WholeRun]:
  """The phases of a run.

  Args:
    config: the configuration.
    data: the user's own by role ("images", "foreign"), for the configured
      regime.
    say: takes lines of news, the costs among them.

  Returns:
    For each regime its search and strata, as far as its arms need them; then
    what each arm adds.

  Raises:
    UsageError: for fields or data that do not fit together.
  """
  regimes: dict[str, Regime] = {}
  for name in config.arms:
    regime = NAMES[name][0]
    if regime not in regimes:
      own = in_regime(config, regime)
      tables = data_.load(own, {} if regime else data, say)
      regimes[regime] = Regime(regime, own, tables)
  found: list[Any] = []
  for regime in regimes.values():
    names = [n for n in config.arms if NAMES[n][0] == regime.name]
    found += shared(regime, [NAMES[n][1] for n in names], say)
  for name in config.arms:
    regime = regimes[NAMES[name][0]]
    hows = _hows(
      [a for r, a in map(NAMES.get, config.arms) if r == regime.name]
    )
    found += finals.arm_phases(regime, name, of_arm(config, name), hows)
  return found


def _hows(arms: list[str]) -> list[str]:
  """The chosen ensembles among the arms of a regime."""
  return [ARMS[a].how for a in arms if ARMS[a].kind == "chosen"]


def shared(
  regime: Regime, arms: list[str], say: Say
) -> list[experiment.Phase | experiment.WholeRun]:
  """The search, and what is chosen and trained anew because of it.

  Args:
    regime: the regime.
    arms: the arms, without the regime's name.
    say: takes lines of news.

  Returns:
    The phases that these arms share; none if they need none.

  Raises:
    UsageError: for a search of fewer runs than there are members.
  """
  config = regime.config
  chosen = [a for a in arms if ARMS[a].kind == "chosen"]
  if not chosen and not any(ARMS[a].how == "best" for a in arms):
    return []
  if config.runs < config.members:
    raise UsageError(
      f"runs is {config.runs}; {config.members} members are chosen from them"
    )
  plan = regime.plan(config, "single", config.runs)
  _say_cost(regime, plan, bool(set(chosen) & set(STRATIFIED)), say)

  def search(products, seed, place):
    start = jnp.broadcast_to(pools.member_seed(seed, 0), (config.runs,))
    own = pools.member_seeds(seed, pools.SEARCH, config.runs)
    return pools.Trainings(own, pools.lambdas(plan, seed, config.runs), start)

  def strata(products, seed, place):
    k = config.members
    lams = products[regime.key("chosen")]["lams"][place]
    own = pools.member_seeds(seed, pools.STRATA, k * (k - 1))
    starts = jnp.stack([pools.member_seed(seed, j) for j in range(1, k)])
    lams = jnp.repeat(jnp.asarray(lams), k - 1, 0)
    return pools.Trainings(own, lams, jnp.tile(starts, k))

  name = regime.key("search")
  found: list[Any] = [
    pools.phase(regime, plan, name, "", config.runs, search),
    choosing.choose(regime, plan),
  ]
  if set(chosen) & set(STRATIFIED):
    count = config.members * (config.members - 1)
    again = regime.plan(config, "single", count)
    found += [
      pools.phase(regime, again, regime.key("strata"), "", count, strata),
      choosing.choose_again(regime, plan),
    ]
  return [*found, finals.judge(regime, _hows(arms))] if chosen else found


def _say_cost(regime, plan, stratified, say):
  config = plan.config
  lead = f"{regime.name}: " if regime.name else ""
  shape = jax.eval_shape(
    lambda: (
      learner.create(
        plan, regime.tables.shape, np.uint32(0), np.int32(0)
      ).params
    )
  )
  numbers = sum(x.size for x in jax.tree.leaves(shape))
  more = config.members * (config.members - 1) if stratified else 0
  say(
    f"{lead}{config.seeds} x {config.runs} trainings of {numbers:,} numbers, "
    f"then {config.seeds} x {more}; each is {plan.steps:,} steps"
  )
