"""The tasks against the page's numbers and plain statements of their rules."""

import builtins
import math

import gymnasium
import numpy as np
import pytest

from kd_jax.errors import UsageError
from kd_jax.methods.robust_mdp import environments
from kd_jax.methods.robust_mdp.environments import arrivals, classic, grids


def optimal(mdp):
  """Non-robust Q* by plain value iteration."""
  q = np.zeros_like(mdp.rewards)
  for _ in range(700):
    q = mdp.rewards + mdp.discount * mdp.transitions @ q.max(1)
  return q


def greedy(q):
  """Of equal values the first, in spite of rounding."""
  return (q > q.max(1, keepdims=True) - 1e-12).argmax(1)


def start_value(mdp, policy):
  """The value of a policy, by a linear solve."""
  rows = np.arange(mdp.states)
  chance, paid = mdp.transitions[rows, policy], mdp.rewards[rows, policy]
  values = np.linalg.solve(np.eye(mdp.states) - mdp.discount * chance, paid)
  return float(mdp.start @ values)


@pytest.mark.parametrize("name", environments.BUILDERS)
def test_every_task_is_a_bounded_mdp_and_its_shift_moves_only_chances(name):
  mdp = environments.make(name)
  np.testing.assert_allclose(mdp.transitions.sum(-1), 1, atol=1e-12)
  values = optimal(mdp).max(1)
  assert 0 <= values.min() <= values.max() <= mdp.v_max + 1e-9
  if mdp.layout:
    assert len("".join(mdp.layout)) <= mdp.states
  shift = {"inventory": 5.0, "riverswim": 0.3}.get(name, 0.5)
  other = environments.shifted(name, shift)
  assert other.name == mdp.name
  assert other.transitions.shape == mdp.transitions.shape
  assert np.abs(other.transitions - mdp.transitions).max() > 0.04


def test_the_chain_has_the_pages_values():
  values = optimal(environments.make("chain")).max(1)
  expected = [9.9805, 9.6875, 5.0, 0.0]
  np.testing.assert_allclose(values[[0, 4, 8, 9]], expected, atol=5e-5)


def test_the_ring_never_rests_and_visits_all_states_equally():
  mdp = environments.make("ring")
  chance = mdp.transitions.mean(1)  # Both actions equally often.
  eigenvalues, vectors = np.linalg.eig(chance.T)
  stationary = np.real(vectors[:, np.argmax(np.real(eigenvalues))])
  np.testing.assert_allclose(stationary / stationary.sum(), 0.1, atol=1e-12)


FROZEN = {
  0.95: 0.4476,
  0.9: 0.4043,
  0.8: 0.3116,
  0.7: 0.2179,
  0.6: 0.1328,
  0.5: 0.0656,
  0.4: 0.0229,
  1 / 3: 0.0083,
}


def test_frozen_lake_8x8_has_the_pages_non_robust_row():
  mdp = environments.make("frozen_lake_8x8", success_rate=0.9, discount=0.95)
  assert mdp.states == 65
  policy = greedy(optimal(mdp))
  for rate, value in FROZEN.items():
    other = environments.shifted("frozen_lake_8x8", rate)
    assert start_value(other, policy) == pytest.approx(value, abs=5e-5)


def test_the_cliff_has_the_pages_non_robust_row():
  policy = greedy(optimal(environments.make("cliff", slip=0.05)))
  expected = {0.05: 0.425, 0.2: 0.300, 0.3: 0.216, 0.5: 0.071}
  for slip, value in expected.items():
    other = environments.shifted("cliff", slip)
    assert start_value(other, policy) == pytest.approx(value, abs=5e-4)


def test_the_goal_is_the_best_place_to_be_and_a_hole_the_worst():
  """The trap: in the other convention the adversary seeks the goal."""
  mdp = environments.make("frozen_lake")
  values = optimal(mdp).max(1)[:-1]
  letters = np.array(list("".join(mdp.layout)))
  assert values[letters == "G"] == 1 == values.max()
  assert (values[letters == "H"] == 0).all()
  assert (values[np.isin(letters, list("SF"))] > 0).all()


def returns(world, policy, discount, episodes):
  """Discounted sums of what the real environment pays on arrival."""
  found = []
  for episode in range(episodes):
    state, _ = world.reset(seed=episode)
    total, weight, done = 0.0, 1.0, False
    while not done:
      state, reward, ended, cut, _ = world.step(int(policy[state]))
      total, weight = total + weight * reward, weight * discount
      done = ended or cut
    found.append(total)
  return np.array(found)


def test_frozen_lake_is_worth_what_the_real_environment_pays():
  """State rewards come a step later: gamma times the return on arrival."""
  mdp = environments.make("frozen_lake", success_rate=0.8)
  policy = greedy(optimal(mdp))
  world = gymnasium.make(
    "FrozenLake-v1", is_slippery=True, success_rate=0.8, max_episode_steps=500
  )
  paid = returns(world, policy, mdp.discount, 2000)
  error = 4 * paid.std() / math.sqrt(len(paid))
  expected = start_value(mdp, policy) / mdp.discount
  assert abs(paid.mean() - expected) < error


def test_cliff_walking_keeps_the_packages_costs():
  """Without slip: along the edge, and the last cost is paid in the goal."""
  mdp = environments.make("cliff_walking", slip=0.0)
  policy = greedy(optimal(mdp))
  g = mdp.discount
  # 12 steps of -1, nothing on entering the goal, -1 in it; then nothing.
  cost = sum(g**t for t in range(12)) + g**13
  value = start_value(mdp, policy)
  assert 100 * (1 / (1 - g) - value) == pytest.approx(cost, abs=1e-9)
  (fall,) = [s for s, n in enumerate(mdp.state_names) if n == "fall"]
  assert mdp.rewards[fall].max() == 0
  np.testing.assert_array_equal(mdp.transitions[fall], [mdp.start] * 4)


def test_taxi_delivers_and_its_delivery_is_a_state_that_pays():
  mdp = environments.make("taxi", slip=0.0)
  state = mdp.state_names.index("(0, 0) aboard to R")
  delivered = mdp.state_names.index("(0, 0) at R to R")
  assert mdp.transitions[state, 5, delivered] == 1
  assert (mdp.rewards[delivered] == 1).all()
  assert (mdp.transitions[delivered, :, -1] == 1).all()
  np.testing.assert_allclose(mdp.rewards[-1], 1 / 3)
  value = optimal(mdp)[state].max()
  g = mdp.discount
  # Entering pays nothing (10/30), the delivery 20 (1), the sink nothing.
  assert value == pytest.approx(1 / 3 + g + g**2 / 3 / (1 - g))


def test_deterministic_tasks_leave_the_adversary_no_choice():
  for name in ("taxi", "cliff_walking", "cliff"):
    mdp = environments.make(name, slip=0.0)
    assert set(np.unique(mdp.transitions)) == {0.0, 1.0}


def test_arrivals_refuses_a_state_that_ends_with_two_rewards():
  table = {
    0: {0: [(0.5, 1, 1.0, True), (0.5, 1, 0.0, True)]},
    1: {0: [(1.0, 1, 0.0, True)]},
  }
  with pytest.raises(UsageError, match="state 1 ends the episode with 1 and 0"):
    arrivals.state_rewards(table)


def test_riverswim_is_the_textbooks():
  mdp = environments.make("riverswim")
  np.testing.assert_allclose(mdp.transitions[0, 1], [0.4, 0.6, 0, 0, 0, 0])
  np.testing.assert_allclose(mdp.transitions[2, 1], [0, 0.05, 0.6, 0.35, 0, 0])
  np.testing.assert_allclose(mdp.transitions[5, 1], [0, 0, 0, 0, 0.4, 0.6])
  assert mdp.rewards[0, 0] == 0.005
  assert mdp.rewards[5, 1] == 1
  assert mdp.rewards.sum() == 1.005
  assert (greedy(optimal(mdp)) == 1).all()


def test_a_machine_is_replaced_when_it_is_worn_and_not_before():
  mdp = environments.make("machine")
  policy = greedy(optimal(mdp))
  assert policy[0] == 0
  assert policy[-1] == 1
  assert (np.diff(policy) >= 0).all()
  np.testing.assert_allclose(mdp.transitions[8, 0, 8:], [0.68, 0.32])


def test_inventory_pays_the_mean_of_a_simulated_day():
  mdp = environments.make("inventory", demand=3.0, capacity=6)
  draw = np.random.default_rng(0)
  demand = draw.poisson(3.0, 200_000)
  sold = np.minimum(np.minimum(demand, 6), 5)
  paid = (2.0 * sold - 1.0 * 3 - 0.1 * (5 - sold) + 1.1 * 6) / (2 * 6 + 1.1 * 6)
  assert mdp.rewards[2, 3] == pytest.approx(paid.mean(), abs=1e-3)
  left = np.bincount(5 - sold, minlength=7) / len(sold)
  np.testing.assert_allclose(mdp.transitions[2, 3], left, atol=5e-3)
  # More than fits is not ordered.
  np.testing.assert_array_equal(mdp.transitions[4, 2], mdp.transitions[4, 6])


def test_a_garnet_has_so_many_successors_and_its_shift_the_same_ones():
  mdp = environments.make("garnet", states=20, branching=3, seed=5)
  far = environments.shifted("garnet", 1.0, states=20, branching=3, seed=5)
  assert ((mdp.transitions > 0).sum(-1) == 3).all()
  np.testing.assert_array_equal(mdp.transitions > 0, far.transitions > 0)
  again = environments.make("garnet", states=20, branching=3, seed=5)
  np.testing.assert_array_equal(mdp.transitions, again.transitions)
  other = environments.make("garnet", states=20, branching=3, seed=6)
  assert (mdp.transitions != other.transitions).any()
  successors, chances, _ = classic.draw_garnet(20, 4, 3, 5)
  taken = np.take_along_axis(mdp.transitions, successors, -1)
  np.testing.assert_array_equal(taken, chances[0])


@pytest.mark.parametrize(
  ("name", "settings", "words"),
  [
    ("chian", {}, "no environment 'chian'"),
    ("chain", {"p": 1.5}, "p is 1.5"),
    ("chain", {"states": 1}, "at least 2"),
    ("chain", {"slip": 0.1}, "slip"),
    ("garnet", {"branching": 99}, "99; a pair has 1 to 50 successors"),
    ("garnet", {"states": 0}, "0 states and 4 actions; it takes at least one"),
    ("garnet", {"actions": 0}, "50 states and 0 actions; it takes at least"),
    ("garnet", {"states": 10**6}, "4,000,000,000,000 numbers; at most 268,4"),
    ("riverswim", {"up": 0.5}, r"\[0, 0.4\]"),
    ("machine", {"wear": 0.99}, r"wear \+ breakdown is 1.01"),
    ("inventory", {"demand": 0.0}, "above 0"),
    ("cliff", {"slip": -0.1}, "slip is -0.1"),
    ("frozen_lake", {"success_rate": 2.0}, "success_rate is 2"),
    ("frozen_lake", {"size": "9x9"}, "4x4 or 8x8"),
    ("missing.npz", {"p": 1}, "it takes no p"),
  ],
)
def test_a_wrong_argument_is_one_sentence(name, settings, words):
  with pytest.raises(UsageError, match=words):
    environments.make(name, **settings)


def test_a_file_has_no_argument_to_shift():
  with pytest.raises(UsageError, match="no argument to shift"):
    environments.shifted("mine.npz", 0.5)


def test_without_gymnasium_the_message_says_what_to_install(monkeypatch):
  real = builtins.__import__

  def without(name, *rest, **named):
    if name == "gymnasium":
      raise ImportError("no gymnasium")
    return real(name, *rest, **named)

  grids._world.cache_clear()
  monkeypatch.setattr(builtins, "__import__", without)
  with pytest.raises(UsageError, match=r"pip install 'kd-jax\[gymnasium\]'"):
    environments.make("frozen_lake")


def test_an_older_gymnasium_says_what_to_do():
  with pytest.raises(UsageError, match=r"has no Taxi-v99 .*pip install -U"):
    grids._world("Taxi-v99")
