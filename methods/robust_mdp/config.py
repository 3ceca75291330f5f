"""The configuration: every ablation is a field.

The paper's values stand in each field's line.
"""

import dataclasses

from kd_jax import experiment
from kd_jax.methods.robust_mdp import validate
from kd_jax.methods.robust_mdp.control import ControlConfig


@dataclasses.dataclass(frozen=True)
class Config(experiment.Config):
  """Robust MDPs without a model.

  Attributes:
    arms: which arms run.
    environment: a task's name (chain, ring, garnet, riverswim, machine,
      inventory, cliff, frozen_lake, frozen_lake_8x8, cliff_walking, taxi, or
      garnet-S-A-B with the sizes), or the path of an `.npz` with P (S, A, S), R
      (S, A) and gamma. The paper's is the chain.
    discount: gamma of a task by name; 0 leaves the task's own. The paper's is
      0.9.
    divergence: "chi2" (the paper's), "kl" or "l1".
    lams: the weights of the penalty, in units of value; small is robust. All of
      them run at once. The paper's are 0.5, 1, 2, 3, 4, 5, 10.
    use_lam: whose policy `load` gives and the plots draw: the nearest of
      `lams`.
    seeds: runs, from `seed` on, all in one program; the devices divide them.
      The paper's is 100.
    outer_steps: T of Algorithm 1; the paper's is 1000.
    inner_steps: T'; the paper's is 100, and 10, 50, 100 at lam 10.
    warm: whether eta goes on from the last outer step; the paper's experiments
      start from 0 each time.
    inner_rate: step sizes in eta: "sqrt" is the experiments' lam / sqrt(t'),
      "running" lam / sqrt(t' + t), "constant" lam, "theory" that of section 4.
    outer_rate: step sizes in Q: "experiment" is 1 / (1 + (1 - gamma) t),
      "theory" has t + 1 in the place of t.
    average: "none" (the paper's), "eta" (the mean of the inner iterates) or "q"
      (the running mean of Q).
    fresh: whether the Q update takes a sample that the ascent has not seen.
    transitions: of Algorithm 2's trajectory, at least; the paper's is 4e6.
    chunk: transitions in a step of the run.
    first_action: Algorithm 2's behaviour: the chance of the first action in
      every state, the others share the rest; 0 is uniform. The paper's Fig. 7
      has 0.5 of two, Fig. 8 also 0.001 to 0.2.
    restart: chance of going on from a state drawn uniformly, where the
      behaviour would visit a state never, or hardly ever. Not used on the ring.
    mended: whether Algorithm 2 clips V to [0, v_max] and its step in Q to 1; as
      printed it diverges.
    samples: of each pair, for the plug-in; the paper's is 1000.
    solver: of the plug-in: "exact", or "gradients" for the paper's Algorithm 3
      with T = T' = 100.
    share: of the transitions that R-contamination's adversary takes.
    rho: the radius of the constrained forms.
    constrained_rate: scale of the steps c / sqrt(t') of the ascent on the
      constrained dual.
    multiplier: where the constrained dual's lam starts; rate and start are the
      best of fourteen pairs on the chain.
    levels: the largest level of the multilevel estimate.
    points: how many points the error curves have.
    control: the networks of the arms "control_robust" and "control_plain".
  """

  arms: tuple[str, ...] = (
    "plug_in",
    "q_learning",
    "algorithm_1",
    "algorithm_2",
  )
  environment: str = "chain"
  discount: float = 0.0
  divergence: str = "chi2"
  lams: tuple[float, ...] = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0)
  use_lam: float = 1.0
  seeds: int = 32
  outer_steps: int = 1000
  inner_steps: int = 10
  warm: bool = True
  inner_rate: str = "sqrt"
  outer_rate: str = "experiment"
  average: str = "none"
  fresh: bool = True
  transitions: int = 1_000_000
  chunk: int = 1000
  first_action: float = 0.0
  restart: float = 0.01
  mended: bool = True
  samples: int = 1000
  solver: str = "exact"
  share: float = 0.1
  rho: float = 0.1
  constrained_rate: float = 0.03
  multiplier: float = 0.5
  levels: int = 4
  points: int = 40
  control: ControlConfig = dataclasses.field(default_factory=ControlConfig)
  log_every: int = 100
  save_every: int = 500

  def __post_init__(self):
    """Checks names and ranges.

    Raises:
      UsageError: one sentence for the first field that is wrong.
    """
    super().__post_init__()
    validate.check_fields(self)
