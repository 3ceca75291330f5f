"""A test-only method without gradient or data set: Q-learning in a table.

Two arms (a decaying and a constant step size) learn a small random MDP from
samples; a shared phase iterates the exact values, which the arms start beside
and are measured against.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from kd_jax import metrics
from kd_jax.errors import UsageError
from kd_jax.experiment import (
  Answer,
  Case,
  Claim,
  Config,
  Evaluation,
  Method,
  Phase,
)
from kd_jax.training.state import step_key

STATES, ACTIONS, DISCOUNT = 6, 3, 0.8


@dataclasses.dataclass(frozen=True)
class Toy(Config):
  """The toy's configuration.

  Attributes:
    samples: transitions per arm.
    explode_at: the step whose residual is not finite; -1 for none.
  """

  samples: int = 3000
  explode_at: int = -1


@struct.dataclass
class Table:
  """State of a learner."""

  step: jax.Array
  seed: jax.Array
  q: jax.Array
  visits: jax.Array
  exact: jax.Array


def world():
  draw = np.random.default_rng(0)
  chances = draw.dirichlet(np.ones(STATES), size=(STATES, ACTIONS))
  rewards = draw.uniform(size=(STATES, ACTIONS))
  return {
    "chances": chances.astype(np.float32),
    "rewards": rewards.astype(np.float32),
  }


def backup(q, data):
  follow = jnp.einsum("sat,t->sa", data["chances"], q.max(-1))
  return data["rewards"] + DISCOUNT * follow


def start_exact(products, seed):
  del products
  return {"q": jnp.zeros((STATES, ACTIONS)), "seed": seed}


def iterate(state, data, *, axis_name=None):
  q = backup(state["q"], data)
  change = jnp.abs(q - state["q"]).max()
  return {**state, "q": q}, {"loss": metrics.mean(change)}


def learn(config, decay):
  def step(state, data, *, axis_name=None):
    s, a, t = jax.random.split(step_key(state), 3)
    s = jax.random.randint(s, (), 0, STATES)
    a = jax.random.randint(a, (), 0, ACTIONS)
    t = jax.random.categorical(t, jnp.log(data["chances"][s, a]))
    visits = state.visits.at[s, a].add(1)
    rate = 1 / visits[s, a] ** 0.8 if decay else 0.5
    error = data["rewards"][s, a] + DISCOUNT * state.q[t].max() - state.q[s, a]
    loss = jnp.where(state.step == config.explode_at, jnp.nan, error**2)
    state = state.replace(
      step=state.step + 1,
      q=state.q.at[s, a].add(rate * error),
      visits=visits,
    )
    return state, {"loss": metrics.mean(loss)}

  return step


def start(products, seed):
  return Table(
    step=jnp.int32(0),
    seed=seed,
    q=jnp.zeros((STATES, ACTIONS)),
    visits=jnp.zeros((STATES, ACTIONS), jnp.int32),
    exact=jnp.asarray(products["exact"]["q"]),
  )


def gap(product, data, *, axis_name=None):
  residual = jnp.abs(product["q"] - backup(product["q"], data)).max()
  return {
    "gap": metrics.mean(jnp.abs(product["q"] - product["exact"]).max()),
    "residual": metrics.mean(residual),
  }


def phases(config, data, say):
  table = data.get("world") or world()
  measure = {"test": Evaluation(gap, table)}
  exact = Phase(
    "exact",
    start_exact,
    iterate,
    100,
    data=table,
    product=lambda state: {"q": state["q"], "exact": state["q"]},
    evaluations=measure,
  )
  learners = [
    Phase(
      "learn",
      start,
      learn(config, decay=arm == "decay"),
      config.samples,
      data=table,
      product=lambda state: {"q": state.q, "exact": state.exact},
      evaluations=measure,
      arm=arm,
    )
    for arm in config.arms
  ]
  return [exact, *learners]


def case():
  def begin(products, seed):
    q = jnp.zeros((STATES, ACTIONS))
    return start({"exact": {"q": q}}, seed)

  return Phase("learn", begin, learn(Toy(), True), 100, data=world())


def policy(run, text):
  return f"{run.products['decay.learn']['q'].argmax(-1).tolist()}\n"


def best(run, text):
  if not text.isdigit() or int(text) >= STATES:
    raise UsageError(f"there is no state {text!r}")
  return f"{run.products['decay.learn']['q'][int(text)].argmax()}\n"


METHOD = Method(
  name="toy_tabular",
  title="Q-learning in a table",
  task="tests",
  presets={
    "small": Toy(arms=("decay", "constant"), log_every=500, save_every=1000),
    "tiny": Toy(arms=("decay",), samples=200, save_every=100),
  },
  phases=phases,
  arms={"decay": "a decaying step size", "constant": "a constant one"},
  main="decay",
  headline={"test_gap": "gap"},
  claims=(
    Claim(
      "decay",
      "a decaying step size ends nearer to the exact values",
      "sanity",
      ("decay", "test_gap"),
      ("constant", "test_gap"),
      sign=-1,
    ),
  ),
  cases=(Case("a transition", case),),
  apply=lambda config, products: (
    lambda q, s: q[s].argmax(-1),
    products["decay.learn"]["q"],
  ),
  answers={
    "policy": Answer(policy, "the best action of every state", flag=True),
    "best": Answer(best, "the best action of the state TEXT"),
  },
)
