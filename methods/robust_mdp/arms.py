"""The arms: what kind each is, and which fields it changes; the presets."""

import dataclasses
from typing import Any, NamedTuple

from kd_jax.methods.robust_mdp import control
from kd_jax.methods.robust_mdp.config import Config


class Arm(NamedTuple):
  """A way of doing it.

  Attributes:
    kind: "generative" (Algorithm 1 and what shares its samples), "trajectory"
      (Algorithm 2), "plug_in", "large" or "control" (no table; see `control`).
    target: of a generative arm, what a sample is turned into: "penalised",
      "ordinary", "contaminated", "multilevel" or "constrained".
    changes: fields.
    length: its steps over the run's own.
  """

  kind: str
  target: str
  changes: dict[str, Any]
  length: float = 1.0


def _generative(target="penalised", length=1.0, **changes):
  return Arm("generative", target, changes, length)


def _trajectory(length=1.0, **changes):
  return Arm("trajectory", "penalised", changes, length)


_COLD = {"warm": False, "inner_rate": "sqrt"}
_LAKE = {
  "environment": "frozen_lake_8x8",
  "lams": (0.03, 0.1),
  "inner_rate": "running",
  "inner_steps": 5,
}
_FIG_8 = (1.0, 2.0, 5.0, 10.0)

ARMS: dict[str, Arm] = {
  "algorithm_1": _generative(),
  "algorithm_2": _trajectory(),
  "plug_in": Arm("plug_in", "penalised", {}),
  "revi": Arm("plug_in", "constrained", {}),
  "revi_kl": Arm("plug_in", "constrained", {"divergence": "kl"}),
  "revi_l1": Arm("plug_in", "constrained", {"divergence": "l1"}),
  "algorithm_3": Arm("plug_in", "penalised", {"solver": "gradients"}),
  "q_learning": _generative("ordinary"),
  # Fig. 4, left and middle; its right panel.
  "cold": _generative(**_COLD, inner_steps=100),
  "cold_50": _generative(**_COLD, inner_steps=50),
  "cold_10": _generative(**_COLD, inner_steps=10),
  # Ablations.
  "reused": _generative(fresh=False),
  "constant": _generative(inner_rate="constant"),
  "running": _generative(inner_rate="running"),
  "average_eta": _generative(average="eta"),
  "average_q": _generative(average="q"),
  # Steps that begin anew at lam leave KL's eta too restless.
  "kl": _generative(divergence="kl", inner_rate="running"),
  "l1": _generative(divergence="l1", inner_rate="running"),
  # Baselines with other sets, each against its own exact values.
  "contamination": _generative("contaminated"),
  # As many samples as the others: an estimate takes 8.4 of them on average.
  "multilevel": _generative("multilevel", length=1.3, divergence="kl"),
  "constrained": _generative("constrained"),
  # Algorithm 2.
  "printed": _trajectory(mended=False, length=0.005, chunk=20),
  "behaviour_001": _trajectory(first_action=0.001, lams=_FIG_8),
  "behaviour_005": _trajectory(first_action=0.005, lams=_FIG_8),
  "behaviour_05": _trajectory(first_action=0.05, lams=_FIG_8),
  "behaviour_1": _trajectory(first_action=0.1, lams=_FIG_8),
  "behaviour_2": _trajectory(first_action=0.2, lams=_FIG_8),
  "behaviour_5": _trajectory(first_action=0.5, lams=_FIG_8),
  # What has to be held where |S| is 2,000: the dense kernel is 40 million.
  "large": Arm(
    "large",
    "penalised",
    {
      "environment": "garnet-2000-10-20",
      "discount": 0.9,
      "lams": (0.03,),
      "seeds": 4,
    },
    0.6,
  ),
  # Robustness on dynamics that are not ours.
  "lake": _generative(length=4, **_LAKE),
  "lake_cold": _generative(length=4, **{**_LAKE, **_COLD}),
  "lake_q_learning": _generative("ordinary", length=4, **_LAKE),
  # Beyond tables.
  **{name: Arm("control", "", {}) for name in control.ARMS},
}


def of_arm(config: Config, arm: str) -> Config:
  """The configuration of an arm.

  Args:
    config: the run's own.
    arm: a key of `ARMS`.

  Returns:
    The same with the arm's changes. Algorithm 2 takes the chain's Markov
    variant, the ring, since it needs every state visited for ever.
  """
  kind, _, changes, length = ARMS[arm]
  own = dataclasses.replace(config, **changes)
  own = dataclasses.replace(
    own,
    outer_steps=max(1, round(length * own.outer_steps)),
    transitions=max(1, round(length * own.transitions)),
  )
  if kind == "trajectory" and own.environment == "chain":
    own = dataclasses.replace(own, environment="ring")
  return own


PRESETS = {
  # Seconds; what the tests run.
  "tiny": Config(
    seeds=4,
    lams=(1.0, 10.0),
    outer_steps=60,
    inner_steps=5,
    transitions=2000,
    chunk=100,
    samples=50,
    points=20,
    log_every=20,
    save_every=0,
  ),
  # The claims, with the paper's settings; Algorithm 1 with T' = 10.
  "small": Config(seeds=100, transitions=4_000_000),
  # Section 6 as published. Of Fig. 4 its longest axis, not the text's 1,000.
  "paper": Config(
    arms=(
      "plug_in",
      "q_learning",
      "algorithm_1",
      "cold_50",
      "cold_10",
      "algorithm_2",
      "behaviour_001",
      "behaviour_005",
      "behaviour_05",
      "behaviour_1",
      "behaviour_2",
      "behaviour_5",
    ),
    seeds=100,
    outer_steps=4000,
    inner_steps=100,
    warm=False,
    transitions=4_000_000,
  ),
}
