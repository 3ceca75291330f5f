"""A test-only method whose run is one function, vmapped over seeds and rates.

Linear regression by gradient descent: `train(key, rate)` is a whole run, the
search over rates and seeds is one program.
"""

import dataclasses

import jax
import jax.numpy as jnp

from kd_jax.experiment import Case, Claim, Config, Method, Phase, WholeRun
from kd_jax.metrics import mean


@dataclasses.dataclass(frozen=True)
class Toy(Config):
  """The toy's configuration.

  Attributes:
    seeds: runs, all in one program.
    rates: the learning rates of the search.
    steps: steps of gradient descent.
  """

  seeds: int = 4
  rates: tuple[float, ...] = (0.001, 0.03, 0.3)
  steps: int = 40


def problem(key):
  x = jax.random.normal(key, (32, 4))
  return x, x @ jnp.arange(1.0, 5.0)


def error(w, x, y):
  return jnp.mean((x @ w - y) ** 2)


def train(key, rate, steps):
  x, y = problem(key)

  def step(w, _):
    return w - rate * jax.grad(error)(w, x, y), None

  w, _ = jax.lax.scan(step, jnp.zeros(4), None, length=steps)
  return w, error(w, x, y)


def phases(config, data, say):
  def search(products, data, seed):
    keys = jax.vmap(lambda s: jax.random.key(seed + s))(
      jnp.arange(config.seeds, dtype=jnp.uint32)
    )
    over_rates = jax.vmap(train, in_axes=(None, 0, None))
    run = jax.vmap(over_rates, in_axes=(0, None, None))
    w, errors = run(keys, jnp.asarray(config.rates), config.steps)
    best = errors.argmin(1)
    metrics = {"best": errors.min(1), "slowest": errors[:, 0]}
    return {"w": w, "best": best}, metrics

  runs = len(config.rates) * config.seeds
  return [WholeRun("search", search, arm="search", steps=config.steps * runs)]


def case():
  def begin(products, seed):
    return {"w": jnp.zeros(4), "seed": seed}

  def step(state, data, *, axis_name=None):
    w = state["w"] - 0.1 * jax.grad(error)(state["w"], *data)
    return {**state, "w": w}, {"loss": mean(error(w, *data))}

  data = problem(jax.random.key(0))
  return Phase("step", begin, step, 100, data=data, batch_size=32)


METHOD = Method(
  name="toy_seeds",
  title="A search over rates as one function",
  task="tests",
  presets={"small": Toy(arms=("search",))},
  phases=phases,
  arms={"search": "all rates and seeds at once"},
  main="search",
  headline={"best": "error"},
  claims=(
    Claim(
      "search",
      "the best rate beats the slowest",
      "sanity",
      ("search", "best"),
      ("search", "slowest"),
      sign=-1,
    ),
  ),
  cases=(Case("a step", case),),
  seeds_in_run=True,
)
