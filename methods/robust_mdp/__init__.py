"""Robust Markov decision processes without model estimation.

Source: Yang, Wang, Kozuno, Jordan and Zhang, arXiv 2302.01248 (v3, 2023).
"""

from kd_jax.experiment import Method
from kd_jax.methods.robust_mdp import problems
from kd_jax.methods.robust_mdp.arms import PRESETS
from kd_jax.methods.robust_mdp.cases import CASES
from kd_jax.methods.robust_mdp.claim import CLAIMS, REPRODUCED
from kd_jax.methods.robust_mdp.config import Config as Config
from kd_jax.methods.robust_mdp.plots import plots
from kd_jax.methods.robust_mdp.train import apply, phases

METHOD = Method(
  name="robust_mdp",
  title="Robust Markov Decision Processes without Model Estimation",
  task="tabular reinforcement learning: policies for a kernel that may change",
  presets=PRESETS,
  phases=phases,
  main="algorithm_1",
  headline={
    "final_error": "max |Q - Q*|",
    "final_slope": "rate",
    "final_worst": "worst case",
    "final_finite": "finite",
    "final_fell_mass_1_1": "rod falls",
  },
  minutes={"tiny": 0.2, "small": 1.0, "small reproduce": 6.0},
  data="the paper's chain and ring, made from their description; FrozenLake, "
  "CliffWalking and Taxi of gymnasium (MIT); or your own: --environment X.npz",
  arms={
    "algorithm_1": "samples of every pair, eta kept between outer steps",
    "algorithm_2": "one trajectory, clipped (the ring in place of the chain)",
    "plug_in": "exact solution of an estimated kernel",
    "revi": "plug_in in the constrained form (REVI), chi-square",
    "revi_kl": "the same with KL",
    "revi_l1": "the same with L1",
    "algorithm_3": "plug_in, solved by gradients (Algorithm 3)",
    "q_learning": "ordinary Q-learning, as many samples",
    "cold": "algorithm_1 as in the paper: eta from 0, T' = 100",
    "cold_50": "eta from 0, T' = 50",
    "cold_10": "eta from 0, T' = 10",
    "reused": "algorithm_1, Q takes the ascent's last sample",
    "constant": "algorithm_1, constant steps in eta",
    "running": "algorithm_1, steps in eta that fall over outer steps",
    "average_eta": "algorithm_1, mean of the inner iterates",
    "average_q": "algorithm_1, running mean of Q",
    "kl": "algorithm_1 with KL, steps in eta that fall over outer steps",
    "l1": "algorithm_1 with L1, by a running minimum",
    "contamination": "Q-learning under R-contamination",
    "multilevel": "multilevel Monte Carlo, constrained KL",
    "constrained": "stochastic ascent on the constrained dual",
    "printed": "algorithm_2 as printed, not clipped",
    "behaviour_001": "algorithm_2, first action with chance 0.001",
    "behaviour_005": "0.005",
    "behaviour_05": "0.05",
    "behaviour_1": "0.1",
    "behaviour_2": "0.2",
    "behaviour_5": "0.5",
    "large": "algorithm_1 on a random task of 2,000 states",
    "lake": "algorithm_1 on FrozenLake 8x8",
    "lake_cold": "the same with eta from 0",
    "lake_q_learning": "Q-learning there",
    "control_robust": "a network with the same dual, on a pendulum in gusts",
    "control_plain": "the same network without the dual",
  },
  claims=CLAIMS,
  reproduce_arms=REPRODUCED,
  # The paper's settings where it has any; kl and l1: steps anew, or falling.
  settings_tried={
    **dict.fromkeys(REPRODUCED, 1),
    **{"constrained": 14, "kl": 2, "l1": 2},
  },
  cases=CASES,
  divided=("seeds",),
  seeds_in_run=True,
  apply=apply,
  plots=plots,
  files=problems.files,
)
