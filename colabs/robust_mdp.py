# %% [markdown]
# # Robust MDPs without a model
#
# A policy should survive a world that differs from the one it was learned in. A
# robust MDP pays it for the worst kernel near the nominal one; this method
# (Yang et al. 2023) learns that from samples alone and holds two numbers a
# state and action: Q and a dual variable. Two minutes on two cores, with or
# without an accelerator.
#
# `source` is what pip installs: the package's name, or the path of a wheel or
# of a clone of the repository.

# %%
import os
import subprocess
import sys

SHOW = "import jax; print(jax.__version__, jax.devices())"
before = subprocess.run(
  [sys.executable, "-c", SHOW], capture_output=True, text=True
).stdout
print("before:", before or "no JAX")
source = os.environ.get("KD_JAX_SOURCE", "kd-jax")
# !%pip install -q "{source}[gymnasium]"

# %% [markdown]
# Installing must not have moved JAX: a new version without its plugin would
# leave you on the CPU.

# %%
after = subprocess.run(
  [sys.executable, "-c", SHOW], capture_output=True, text=True
).stdout
print("after: ", after)
if before and before != after:
  raise RuntimeError("the installation changed JAX or its devices")

# %% [markdown]
# ## The paper's chain, in miniature
#
# Ten states, sixteen seeds and five weights of the penalty in one program. λ is
# in units of value, and small is robust. Four ways to Q: an estimated kernel
# solved exactly, ordinary Q-learning, Algorithm 1 (its dual variables kept from
# step to step), and Algorithm 1 from 0 each time, which at small λ cannot climb
# to where the dual has its maximum.

# %%
import kd_jax

run = kd_jax.train(
  "robust_mdp",
  workdir="runs/chain",
  arms=("plug_in", "q_learning", "algorithm_1", "cold_10"),
  lams=(0.5, 1.0, 2.0, 5.0, 10.0),
  seeds=16,
  outer_steps=1000,
  inner_steps=10,
)
print(run.table())

# %% [markdown]
# Errors against samples with 95 % bands; what robustness costs against λ.

# %%
from IPython.display import Image, display

for path in sorted((run.workdir / "plots").glob("*.png")):
  print(path.stem)
  display(Image(filename=str(path)))

# %% [markdown]
# ## FrozenLake: a policy for thicker and for thinner ice
#
# Learned where a step goes as meant nine times in ten; values there, and where
# it does so seven and five times in ten, or one in three. Values are within 1
# here, so that λ is .03 and not 3.

# %%
lake = kd_jax.train(
  "robust_mdp",
  workdir="runs/lake",
  arms=("lake", "lake_q_learning"),
  use_lam=0.03,
  seeds=4,
  outer_steps=1000,
)
for name, value in sorted(lake.metrics.items()):
  if "final_nominal" in name or "final_at_" in name:
    print(f"{name:48s} {value:.4f}")

# %% [markdown]
# The greedy policies: exact ones first, then what was learned. Red arrows are
# not those of the ordinary policy.

# %%
for path in sorted((lake.workdir / "plots").glob("policy*.png")):
  display(Image(filename=str(path)))

# %% [markdown]
# The same question, answered exactly: the value at the start of the ordinary
# and of a robust policy, on ice that neither of them was made for.

# %%
import numpy as np

from kd_jax.methods.robust_mdp import backups, environments, exact
from kd_jax.methods.robust_mdp.divergences import CHI_SQUARE
from kd_jax.methods.robust_mdp.policies import policy_value

nominal = environments.make("frozen_lake_8x8", success_rate=0.9)
model = backups.model(nominal)
policies = {
  "ordinary": exact.solve_ordinary(model).q.argmax(-1),
  "robust, λ = .03": exact.solve_penalised(CHI_SQUARE, model, 0.03).q.argmax(
    -1
  ),
}
for rate in (0.9, 0.7, 0.5, 1 / 3):
  other = environments.shifted("frozen_lake_8x8", rate)
  for name, policy in policies.items():
    value = policy_value(backups.model(other), policy)
    print(f"{rate:.2f}  {name:16s} {float(other.start @ value):.4f}")

# %% [markdown]
# ## Your own MDP
#
# One `.npz`: P (states, actions, next states), R (states, actions) in [0, 1]
# and gamma. Here a commute: the ring road is shorter, but jammed one day in
# seven; the streets always take as long.

# %%
HOME, RING, JAM, STREETS, BRIDGE, WORK = range(6)
P = np.zeros((6, 2, 6))
P[HOME, 0, [RING, JAM]] = 6 / 7, 1 / 7
P[HOME, 1, STREETS] = 1
P[RING, :, WORK] = P[STREETS, :, BRIDGE] = P[BRIDGE, :, WORK] = 1
P[JAM, :, [JAM, WORK]] = [[0.8], [0.2]]
P[WORK, :, HOME] = 1
R = np.zeros((6, 2))
R[WORK] = 1
names = ["home", "ring road", "jam", "streets", "bridge", "work"]
np.savez("commute.npz", P=P, R=R, gamma=0.9, names=names)
own = kd_jax.train(
  "robust_mdp",
  workdir="runs/commute",
  environment="commute.npz",
  arms=("q_learning", "algorithm_1"),
  lams=(0.3, 3.0),
  seeds=8,
  outer_steps=1000,
)
print(own.table())
q = own.products["algorithm_1.learn"]["q"]
for place, lam in enumerate(own.config.lams):
  best = np.asarray(q)[:, place, HOME].argmax(-1)
  print(f"λ = {lam}: {(best == 0).mean():.0%} of the seeds take the ring road")

# %% [markdown]
# The policy at one weight, as a function of the state:

# %%
act, variables = kd_jax.load(own.workdir)
print("λ =", variables["lam"], "->", act(variables, np.arange(len(names))))

# %% [markdown]
# A wrong file is one sentence:

# %%
P[STREETS, 1, BRIDGE] = 0.9
np.savez("wrong.npz", P=P, R=R, gamma=0.9)
try:
  environments.make("wrong.npz")
except kd_jax.errors.UsageError as error:
  print(error)

# %% [markdown]
# ## A divergence of your own
#
# It is a conjugate and its derivative; objective, gradient, the interval of the
# dual variable and the exact solver follow.

# %%
import jax.numpy as jnp

from kd_jax.methods.robust_mdp import inner
from kd_jax.methods.robust_mdp.divergences import Divergence

half = Divergence(
  "half",
  lambda s: jnp.square(jnp.maximum(s + 1, 0)) / 2 - 0.5,
  lambda s: jnp.maximum(s + 1, 0),
)
p, v = jnp.array([0.2, 0.5, 0.3]), jnp.array([0.0, 1.0, 2.0])
for divergence in (half, CHI_SQUARE):
  worst = inner.penalised(divergence)(p, v, jnp.float32(1.0))
  print(divergence.name, float(worst.value), np.asarray(worst.kernel).round(3))

# %% [markdown]
# Next: `kd_jax.reproduce("robust_mdp")` judges the paper's sentences; the arms
# `control_robust` and `control_plain` do the same with networks on a pendulum.
