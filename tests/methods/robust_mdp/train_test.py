"""End to end: through the public verbs, stopped, resumed, loaded, judged."""

import json
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kd_jax
from kd_jax import api, cli
from kd_jax.errors import Interrupted, UsageError
from kd_jax.experiment import WholeRun
from kd_jax.methods.robust_mdp import (
  METHOD,
  baselines,
  drawing,
  environments,
  evaluation,
  exact,
  steps,
  train,
)
from kd_jax.methods.robust_mdp.curves import samples_per_step
from kd_jax.methods.robust_mdp.divergences import CHI_SQUARE
from kd_jax.methods.robust_mdp.environments import simulator

FEW = {
  "outer_steps": 24,
  "transitions": 1200,
  "samples": 30,
  "points": 12,
  "log_every": 3,
  "quiet": True,
}
ARMS = ("plug_in", "algorithm_1", "algorithm_2")


@pytest.fixture(scope="module")
def programs():
  return {}


@pytest.fixture(scope="module")
def run(tmp_path_factory, programs):
  folder = tmp_path_factory.mktemp("run") / "run"
  return kd_jax.train(
    "robust_mdp", "tiny", workdir=folder, arms=ARMS, programs=programs, **FEW
  )


def test_the_metrics_are_those_of_the_products(run):
  products, found = run.products, run.summary["per_seed"]
  for arm, problem in (("algorithm_1", "chain"), ("algorithm_2", "ring")):
    q = products[f"{arm}.learn"]["q"]
    target = products[f"exact_{problem}"]["penalised"]
    for i, lam in enumerate((1, 10)):
      error = np.abs(q[:, i] - target[i]).max((1, 2))
      named = found[f"{arm}.final_error_lam_{lam}"]
      np.testing.assert_allclose(named, error, rtol=1e-5)
    history = products[f"{arm}.learn"]["history"]
    both = np.abs(10.0 - target).max((1, 2))
    np.testing.assert_allclose(
      history[..., 0], np.broadcast_to(both, (4, 2)), rtol=1e-5
    )
    assert np.isfinite(history).all()
  errors = np.asarray(found["plug_in.final_error_lam_10"])
  np.testing.assert_allclose(
    found["plug_in.final_spread_lam_10"],
    np.abs(errors - errors.mean()),
    rtol=1e-4,
  )
  # The exact solution is one value for all seeds.
  gap = found["exact_chain.gap_lam_1"]
  np.testing.assert_allclose(gap, [1.4223] * 4, atol=1e-3)
  assert run.metrics["exact_chain.match"] < 1e-3
  assert run.metrics["exact_chain.residual"] < 1e-4
  assert run.metrics["exact_chain.duality_gap"] < 1e-4


def test_the_plug_in_is_solved_from_its_samples(run, model_of):
  u = steps.uniforms(jnp.uint32(2), 1, jnp.int32(0), (30, 10, 2))
  world = simulator.compact(environments.make("chain"))
  rewards = model_of("chain", np.float32).rewards
  drawn = simulator.sample_all(world, u)
  model = baselines.plug_in(drawn, rewards, jnp.float32(0.9))
  q = exact.solve_penalised(CHI_SQUARE, model, 1.0).q
  np.testing.assert_allclose(
    run.products["plug_in.learn"]["q"][2, 0], q, atol=1e-3
  )


def test_policies_are_measured_by_iteration(run):
  """ "nominal" and "worst", of one seed, in NumPy."""
  chain = environments.make("chain")
  q = run.products["algorithm_1.learn"]["q"][1, 0]
  rows = chain.transitions[np.arange(10), q.argmax(-1)]
  rewards = chain.rewards[np.arange(10), q.argmax(-1)]
  v = np.linalg.solve(np.eye(10) - 0.9 * rows, rewards)
  per_seed = run.summary["per_seed"]
  assert per_seed["algorithm_1.final_nominal_lam_1"][1] == pytest.approx(
    chain.start @ v, rel=1e-4
  )
  worst = per_seed["algorithm_1.final_worst_lam_1"][1]
  v = np.zeros(10)
  for _ in range(300):
    v = rewards + 0.9 * np.array([_worst(p, v, 1.0) for p in rows])
  assert worst == pytest.approx(chain.start @ v, rel=1e-3)


def _worst(p, v, lam):
  """sup over eta of J, on a fine grid."""
  eta = np.linspace(-1, 22, 4001)[:, None]
  j = eta + lam - np.maximum(eta + 2 * lam - v, 0) ** 2 / (4 * lam)
  return (j @ p).max()


def test_the_rate_is_a_slope():
  steps = jnp.arange(0.0, 200.0, 5.0)
  history = jnp.stack([3 * jnp.maximum(steps, 1) ** -0.5, 7 + 0 * steps])[None]
  slopes = evaluation.rate(history, steps)
  np.testing.assert_allclose(slopes, [[-0.5, 0.0]], atol=1e-3)


def test_a_policy_to_use(run):
  apply, variables = kd_jax.load(run.workdir)
  assert variables["lam"] == 1.0
  states = np.array([[0, 3], [8, 9]])
  actions = apply(variables, states)
  q = run.products["algorithm_1.learn"]["q"][0, 0]
  np.testing.assert_array_equal(actions, q.argmax(-1)[states])
  evaluated = kd_jax.evaluate("robust_mdp", run.workdir)
  assert evaluated == pytest.approx(run.metrics, rel=1e-5)


def test_a_run_without_the_method_has_nothing_to_load(run):
  with pytest.raises(UsageError, match="algorithm_1"):
    METHOD.apply(run.config, {"plug_in.learn": {}})


def test_a_stopped_run_ends_with_the_same_bits(run, tmp_path, programs):
  def stop(event, step):
    if event == "step" and step == 9:
      signal.raise_signal(signal.SIGTERM)

  how = {**FEW, "arms": ARMS, "workdir": tmp_path, "programs": programs}
  with pytest.raises(Interrupted):
    kd_jax.train("robust_mdp", "tiny", observer=stop, **how)
  again = kd_jax.train("robust_mdp", "tiny", **how)
  for name in ("algorithm_1.learn", "algorithm_2.learn"):
    for key in ("q", "eta", "history"):
      np.testing.assert_array_equal(
        again.products[name][key], run.products[name][key]
      )


def test_figures_show_what_was_found(run):
  figures = run.plot()
  assert {"gap", "error"} <= set(figures)
  panels = {a.get_title(): a for a in figures["error"].axes}
  line = panels["algorithm_1"].lines[0]
  product = run.products["algorithm_1.learn"]
  # The last point is the table's.
  last = np.abs(product["q"] - product["reference"]).max((-2, -1))[:, 0]
  mean = [*product["history"][:, 0, 1:].mean(0), last.mean()]
  np.testing.assert_allclose(line.get_ydata(), mean, rtol=1e-5)
  # 5 + 1 samples of 20 pairs in a step.
  steps = [*product["at"][1:], run.config.outer_steps]
  np.testing.assert_allclose(line.get_xdata(), np.asarray(steps) * 120)
  assert samples_per_step(run.config, "algorithm_2") == 100
  lams = figures["gap"].axes[0].lines[0].get_xdata()
  np.testing.assert_allclose(lams, [1, 10])


def test_arrows_point_where_the_policy_goes():
  q = np.zeros((5, 4))
  q[0, 2], q[1, 1] = 1, 1  # Right, then down.
  figure = drawing.grid(("SF", "HG"), drawing.ARROWS["frozen_lake"], {"x": q})
  (axes,) = figure.axes
  arrows = [t for t in axes.texts if t.get_text() == ""]
  moves = [np.subtract(t.xy, t.xyann) for t in arrows]
  np.testing.assert_allclose(moves, [(0.6, 0), (0, 0.6)])
  assert [t.get_text() for t in axes.texts if t.get_text()] == ["S", "H", "G"]


def test_ones_own_task_through_the_command(tmp_path, capsys):
  """Three states that are left for ever: Algorithm 2 restarts by itself."""
  p = np.zeros((3, 2, 3))
  p[0, 0], p[0, 1] = [0.5, 0.5, 0], [0, 0.3, 0.7]
  p[1, :] = [0, 0.2, 0.8]
  p[2, :, 2] = 1
  path = tmp_path / "mine.NPZ"

  def save():
    with path.open("wb") as file:  # To a path NumPy would add ".npz".
      np.savez(file, P=p, R=np.array([[1, 0.5], [0.2, 0.9], [0, 0]]), gamma=0.8)

  save()
  words = (
    f"train robust_mdp tiny --workdir {tmp_path / 'w'} --environment {path}"
  )
  more = "--outer-steps 6 --transitions 200 --arms algorithm_1 algorithm_2"
  with pytest.raises(SystemExit) as stop:
    cli.main([*words.split(), *more.split()])
  assert stop.value.code == 0
  out = capsys.readouterr()
  assert "restarts anywhere" in out.out + out.err
  summary = json.loads((tmp_path / "w" / "summary.json").read_text())
  assert summary["metrics"]["exact_mine.residual"] < 1e-4
  p[1, 0, 0] = 0.3
  save()
  # The run has its own copy; the path names another task now, a wrong one.
  again = kd_jax.evaluate("robust_mdp", tmp_path / "w")
  assert again == pytest.approx(summary["metrics"], rel=1e-5)
  assert len(kd_jax.load(tmp_path / "w")[1]["q"]) == 3
  with pytest.raises(SystemExit) as stop:
    cli.main([*words.split(), *more.split()])
  assert stop.value.code == 2
  said = capsys.readouterr().err
  assert "environment: what the path names holds something else now" in said
  with pytest.raises(SystemExit) as stop:
    cli.main(["train", "robust_mdp", "tiny", "--environment", str(path)])
  assert stop.value.code == 2
  assert "state 1, action 0" in capsys.readouterr().err


def test_every_claim_names_what_is_measured():
  pytest.importorskip("gymnasium")
  _, _, config = api.configure("robust_mdp", "small", seeds=4)
  config = api.fields.override(config, {"arms": METHOD.reproduce_arms})
  measured, products, seed = set(), {}, np.uint32(0)
  for phase in train.phases(config, {}, lambda line: None):
    arm = phase.arm or phase.name
    if isinstance(phase, WholeRun):
      product, found = jax.eval_shape(phase.run, products, phase.data, seed)
      assert all(x.shape == (4,) for x in found.values())
      measured |= {(arm, metric) for metric in found}
    else:
      state = jax.eval_shape(phase.init, products, seed)
      product = jax.eval_shape(phase.product, state)
      for name, measure in phase.evaluations.items():
        found = jax.eval_shape(measure.run, product, measure.data)
        measured |= {(arm, f"{name}_{metric}") for metric in found}
    products[phase.key] = product
  for claim in METHOD.claims:
    assert claim.treatment in measured
    assert isinstance(claim.baseline, float) or claim.baseline in measured


def test_a_large_task_runs_the_default_arms(tmp_path):
  """Above 200 states the constrained form is not solved for."""
  how = {
    "environment": "garnet-210-2-3",
    "workdir": tmp_path / "run",
    **FEW,
    "outer_steps": 4,
    "transitions": 200,
    "samples": 5,
  }
  run = kd_jax.train("robust_mdp", "tiny", **how)
  found = run.summary["per_seed"]
  assert not [key for key in found if "worst_lam" in key or "match" in key]
  for arm in run.config.arms:
    errors = [v for k, v in found.items() if k.startswith(f"{arm}.final_error")]
    assert errors
    assert np.isfinite(errors).all()
  q = run.products["plug_in.learn"]["q"]
  (exact_q,) = (
    product["penalised"]
    for key, product in run.products.items()
    if key.startswith("exact_")
  )
  np.testing.assert_allclose(
    found["plug_in.final_error_lam_10"],
    np.abs(q[:, 1] - exact_q[1]).max((1, 2)),
    rtol=1e-5,
  )


@pytest.mark.parametrize(
  "arm", ["revi", "revi_kl", "multilevel", "constrained"]
)
def test_a_large_task_refuses_the_constrained_form(tmp_path, arm):
  with pytest.raises(UsageError, match=f"{arm} is held.* up to 200 states;"):
    kd_jax.train(
      "robust_mdp",
      "tiny",
      workdir=tmp_path / "run",
      environment="garnet-210-2-3",
      arms=("algorithm_1", arm),
      **FEW,
    )
