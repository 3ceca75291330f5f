"""The pendulum's physics, the two heads, and the step on any devices."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

import kd_jax
from kd_jax import accel
from kd_jax.errors import UsageError
from kd_jax.methods.robust_mdp import control, inner
from kd_jax.methods.robust_mdp import control_learner as learner
from kd_jax.methods.robust_mdp import control_network as network
from kd_jax.methods.robust_mdp import control_task as task
from kd_jax.methods.robust_mdp.divergences import CHI_SQUARE, DIVERGENCES, L1

SMALL = control.ControlConfig(
  seeds=4,
  steps=12,
  worlds=4,
  memory=64,
  batch=16,
  widths=(8,),
  episodes=8,
  episode_steps=20,
)


@pytest.mark.parametrize(
  "dynamics",
  [task.Dynamics(), task.Dynamics(1.3, 0.8, 0.1, 0.0), task.Dynamics(gust=2.0)],
)
def test_the_pendulum_follows_its_equation(dynamics):
  """Against SciPy's integrator, over five steps with torques and gusts."""
  d, state = dynamics, jnp.array([0.2, 0.3])
  exact = np.array(state, np.float64)
  for action, noise in zip([2, 0, 1, 2, 2], [0.3, -1, 0.5, 0, 1], strict=True):
    state = task.move(d, state, jnp.int32(action), jnp.float32(noise))
    torque = task.TORQUES[action] + d.gust * noise

    def slope(t, y, torque=torque):
      push = (torque - d.friction * y[1]) / (d.mass * d.length**2)
      return [y[1], task.GRAVITY / d.length * np.sin(y[0]) + push]

    exact = integrate.solve_ivp(slope, (0, task.SECONDS), exact, rtol=1e-9).y[
      :, -1
    ]
  # Semi-implicit Euler is of first order: 0.05 s steps, five of two each.
  np.testing.assert_allclose(state, exact, atol=0.06)


def test_the_integrator_is_of_first_order(monkeypatch):
  """Ten times the substeps, a tenth of the error."""
  start, noise = jnp.array([0.3, 0.0]), jnp.float32(0)

  def end(substeps):
    monkeypatch.setattr(task, "SUBSTEPS", substeps)
    state = start
    for _ in range(5):
      state = task.move(task.Dynamics(), state, jnp.int32(1), noise)
    return np.asarray(state)

  exact = end(2000)
  coarse, fine = (np.abs(end(n) - exact).max() for n in (2, 20))
  assert 6 < coarse / fine < 14


def test_a_heavier_rod_moves_the_edge():
  """The motor just holds the rod where m g l sin th = u."""
  for mass in (1.0, 1.2):
    edge = np.arcsin(task.TORQUES[0] / (-task.GRAVITY * mass))
    dynamics = task.Dynamics(mass=mass, gust=0.0)
    for side, falls in ((-0.01, False), (0.01, True)):
      state = jnp.array([edge + side, 0.0], jnp.float32)
      for _ in range(80):
        state = task.move(dynamics, state, jnp.int32(0), jnp.float32(0))
      assert bool(state[0] > edge) == falls


def test_the_fallen_stay_down_and_are_not_paid():
  down = jnp.array([[1.3, 0.0], [-0.5, 1.0]])
  assert task.fallen(down).all()
  after = task.move(task.Dynamics(), down, jnp.array([0, 2]), jnp.zeros(2))
  np.testing.assert_array_equal(after, down)
  assert (task.reward(down, 0.9) == 0).all()
  most = task.reward(jnp.array([1.1, 0.0]), 0.9) / (1 - 0.9)
  assert most == pytest.approx(network.V_MAX)


def batch(n=32):
  key = jax.random.key(0)
  before = task.anywhere(jax.random.uniform(key, (n, 2)))
  action = jax.random.randint(key, (n,), 0, 3)
  noise = jax.random.normal(key, (n,))
  return before, action, task.move(task.Dynamics(), before, action, noise)


def heads(seed=0, widths=(8,)):
  net = network.TwoHeads(widths)
  return net, net.init(jax.random.key(seed), jnp.zeros((1, 2)))


def values(net, target, after):
  best = net.apply(target, task.observation(after))[0].max(-1)
  return np.where(task.fallen(after), 0, np.clip(best, 0, 1))


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_terms_are_the_duals(name):
  """Written out in NumPy for each divergence."""
  net, params = heads()
  _, target = heads(1)
  lam, discount = 0.2, 0.9
  before, action, after = batch()
  terms = network.td_terms(
    net, DIVERGENCES[name], lam, discount, params, target, *batch()
  )
  rows = np.arange(len(action))
  q, eta = (
    np.asarray(x)[rows, action]
    for x in net.apply(params, task.observation(before))
  )
  v = values(net, target, after)
  if name == "chi2":
    eta = np.clip(eta, -lam, 2 + 2 * lam)
    j = eta + lam - np.maximum(eta + 2 * lam - v, 0) ** 2 / (4 * lam)
  elif name == "kl":
    eta = np.clip(eta, lam, lam + 1)
    j = eta - lam * np.exp((eta - v) / lam - 1)
  else:
    eta = np.minimum(np.clip(eta, lam, lam + 1), v + lam)
    j = np.minimum(v, lam + eta)
  goal = np.asarray(task.reward(before, discount)) + discount * j
  np.testing.assert_allclose(terms["q"], (q - goal) ** 2, atol=2e-5, rtol=1e-4)
  np.testing.assert_allclose(terms["eta"], -4 * lam * j, atol=1e-5, rtol=1e-4)


def test_a_huge_penalty_is_no_robustness():
  """J(E V) is E V - Var V / (4 lam) at its best: the plain target."""
  net, params = heads()
  before, action, after = batch()
  v = values(net, params, after)
  shift = float(
    v[0] - net.apply(params, task.observation(before))[1][0, action[0]]
  )
  bias = params["params"]["eta"]["bias"] + shift
  params = jax.tree.map(lambda x: x, params)
  params["params"]["eta"]["bias"] = bias
  one = before[:1], action[:1], after[:1]
  plain = network.td_terms(net, None, 1.0, 0.9, params, params, *one)
  robust = network.td_terms(net, CHI_SQUARE, 1e4, 0.9, params, params, *one)
  np.testing.assert_allclose(robust["q"], plain["q"], atol=1e-4)


def test_the_eta_head_ends_where_the_exact_solver_is():
  """One pair, many next states: ascending its terms solves the dual."""
  net, params = heads()
  _, target = heads(3)
  n, lam = 64, 0.02
  before, action = jnp.tile(jnp.array([[0.2, 0.0]]), (n, 1)), jnp.zeros(n, int)
  after = task.anywhere(jax.random.uniform(jax.random.key(5), (n, 2)))
  v = values(net, target, after).astype(np.float32)
  assert v.std() > 0.05

  def loss(eta_bias):
    own = {**params["params"]["eta"], "bias": eta_bias}
    full = {"params": {**params["params"], "eta": own}}
    terms = network.td_terms(
      net, CHI_SQUARE, lam, 0.9, full, target, before, action, after
    )
    return terms["eta"].mean()

  bias = params["params"]["eta"]["bias"]
  descend = jax.jit(
    lambda b: jax.lax.fori_loop(
      0, 3000, lambda _, b: b - 0.1 * jax.grad(loss)(b), b
    )
  )
  best = -loss(descend(bias)) / (4 * lam)
  worst = inner.penalised(CHI_SQUARE)(jnp.full(n, 1 / n), jnp.asarray(v), lam)
  assert float(best) == pytest.approx(float(worst.value), abs=1e-4)
  assert float(worst.value) < v.mean() - 0.02


def test_targets_are_not_differentiated():
  net, params = heads()

  def loss(params, target, name):
    terms = network.td_terms(net, L1, 0.1, 0.9, params, target, *batch())
    return terms[name].sum()

  for name in ("q", "eta"):
    own, targets = jax.grad(loss, (0, 1))(params, params, name)
    assert all((x == 0).all() for x in jax.tree.leaves(targets))
    trained = [k for k in ("q", "eta") if (own["params"][k]["bias"] != 0).any()]
    assert trained == [name]


@functools.cache
def run(arm, count=1, n=12, config=SMALL):
  devices = jax.devices()[:count]
  phase = control.phase(config, arm)
  state = jax.jit(phase.init)({}, np.uint32(3))
  split = phase.split(state)
  lifted = accel.data_parallel(
    accel.scan_steps(phase.step),
    devices=devices,
    data="replicated",
    split=split,
  )
  state = accel.place(state, devices, split)
  state, found = lifted(state, accel.place((None, np.int32(n)), devices))
  return jax.device_get(state), jax.device_get(found)


def test_four_devices_are_one():
  one, ours = run("control_robust")
  four, theirs = run("control_robust", 4)
  assert int(one.step) == 12
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), one, four
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), ours, theirs
  )


def test_a_member_is_what_its_seed_alone_says():
  many, _ = run("control_robust")
  few = dataclasses.replace(SMALL, seeds=1)
  alone, _ = run("control_robust", config=few)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a[0], b[0], atol=2e-5),
    many.average,
    alone.average,
  )


def test_the_arms_differ_in_the_penalty_alone():
  """The same first network, worlds and draws; the memory begins equal."""
  robust, _ = run("control_robust", n=1)
  plain, _ = run("control_plain", n=1)
  for name in ("place", "before", "action", "after"):
    np.testing.assert_array_equal(getattr(robust, name), getattr(plain, name))
  other = jax.tree.map(lambda a, b: (a != b).any(), robust.params, plain.params)
  assert any(jax.tree.leaves(other))
  # The plain network's eta head is there and learns nothing.
  first = jax.device_get(
    jax.jit(lambda: learner.create(SMALL, jnp.uint32(3)))()
  )
  jax.tree.map(
    np.testing.assert_array_equal,
    first.params["params"]["eta"],
    plain.params["params"]["eta"],
  )


def test_the_memory_is_a_ring_of_true_transitions():
  state, _ = run("control_plain", n=20)
  # 20 steps of 4 worlds are 80 transitions in 64 places.
  assert (np.abs(state.after).sum(-1) > 0).all()
  calm = dataclasses.replace(SMALL, gust=1e-9)
  state, _ = run("control_plain", n=20, config=calm)
  still = task.Dynamics(gust=0.0)
  again = task.move(still, state.before, state.action, jnp.zeros((4, 64)))
  np.testing.assert_allclose(again, state.after, atol=1e-5)


def test_an_evaluation_is_a_loop_over_episodes():
  phase = control.phase(SMALL, "control_plain")
  state = jax.jit(phase.init)({}, np.uint32(0))
  product = phase.product(state)
  measure = phase.evaluations["final"]
  found = jax.jit(measure.run)(product, measure.data)
  assert found["at_nominal"].total.shape == (4,)
  net = network.TwoHeads(SMALL.widths)
  params = jax.tree.map(lambda x: x[1], product["params"])
  key = jax.random.fold_in(jax.random.key(product["member"][1]), 4)
  heavy = task.Dynamics(mass=1.2, gust=SMALL.gust)
  place = task.begin(jax.random.uniform(key, (8, 2)))
  total = np.zeros(8)
  for t in range(SMALL.episode_steps):
    total += SMALL.discount**t * np.asarray(task.reward(place, SMALL.discount))
    q, _ = net.apply(params, np.asarray(place) / np.array(task.SCALE))
    noise = jax.random.normal(jax.random.fold_in(key, t), (8,))
    place = task.move(heavy, place, q.argmax(-1), noise)
  assert found["at_mass_1_2"].total[1] == pytest.approx(total.mean(), abs=1e-4)
  fell = (place[:, 0] > 1.2) | (place[:, 0] < -0.4)
  assert found["fell_mass_1_2"].total[1] == pytest.approx(fell.mean())


def test_a_run_has_both_arms_and_a_value_a_seed(tmp_path):
  run = kd_jax.train(
    "robust_mdp",
    "tiny",
    arms=control.ARMS,
    workdir=tmp_path / "run",
    quiet=True,
    **{f"control__{k}": v for k, v in dataclasses.asdict(SMALL).items()},
  )
  for arm in control.ARMS:
    values = run.summary["per_seed"][f"{arm}.final_at_nominal"]
    assert len(values) == SMALL.seeds
    assert run.metrics[f"{arm}.final_at_nominal"] == pytest.approx(
      np.mean(values)
    )
    assert 0 <= run.metrics[f"{arm}.final_fell_gust_1_5"] <= 1
  plots = {path.name for path in (run.workdir / "plots").iterdir()}
  assert "control.png" in plots
  assert "gap.png" not in plots


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_step_lowers(platform):
  phase = control.phase(SMALL, "control_robust")
  state = jax.jit(phase.init)({}, np.uint32(0))
  lifted = accel.data_parallel(
    accel.scan_steps(phase.step), data="replicated", split=phase.split(state)
  )
  exported = lifted.export(state, (None, np.int32(2)), [platform])
  assert exported.platforms == (platform,)
  assert exported.nr_devices == 4


@pytest.mark.parametrize(
  ("fields", "words"),
  [
    ({"divergence": "tv"}, "control.divergence is 'tv'"),
    ({"seeds": 0}, "control.seeds is 0"),
    ({"widths": ()}, r"control.widths is \(\)"),
    ({"lam": 0.0}, "control.lam is 0; it must be above 0"),
    ({"lam": float("nan")}, "control.lam is nan"),
    ({"explore": 1.5}, "control.explore is 1.5"),
    ({"discount": 1.0}, r"control.discount is 1; .*\[0, 1\)"),
    ({"memory": 8}, "control.memory is 8; it must hold a step of 16 worlds"),
  ],
)
def test_a_wrong_field_is_one_sentence(fields, words):
  with pytest.raises(UsageError, match=words):
    control.ControlConfig(**fields)
