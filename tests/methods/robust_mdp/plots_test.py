"""What the figures show: the values of lines, the colours of arrows."""

import dataclasses
import importlib

import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import report
from kd_jax.errors import UsageError
from kd_jax.methods.robust_mdp import curves, drawing, problems, states
from kd_jax.methods.robust_mdp.arms import PRESETS

# The package's own `plots` is the function.
plots = importlib.import_module("kd_jax.methods.robust_mdp.plots")
CONFIG = dataclasses.replace(PRESETS["tiny"], seeds=3)


def product(points=3, weights=2, end=0.25):
  history = np.full((3, weights, points), np.nan)
  history[..., 1:] = 0.5
  return {
    "q": np.full((3, weights, 10, 2), end),
    "reference": np.zeros((weights, 10, 2)),
    "history": history,
    "at": np.arange(points) * 20.0,
  }


def lines(axes):
  return {line.get_label(): line.get_data() for line in axes.get_lines()}


def test_a_curve_ends_at_the_error_of_the_table():
  products = {
    "algorithm_1.learn": product(),
    "q_learning.learn": product(weights=1, end=0.125),
  }
  learned = ["algorithm_1", "q_learning"]
  first, second = plots.errors(CONFIG, products, learned).axes
  drawn = lines(first)
  assert set(drawn) == {"lam 1", "lam 10", "q_learning"}
  steps = np.array([20, 40, CONFIG.outer_steps])
  each = curves.samples_per_step(CONFIG, "algorithm_1")
  np.testing.assert_allclose(drawn["lam 10"][0], steps * each)
  np.testing.assert_allclose(drawn["lam 10"][1], [0.5, 0.5, 0.25])
  np.testing.assert_allclose(drawn["q_learning"][1], [0.5, 0.5, 0.125])
  assert first.get_xscale() == first.get_yscale() == "log"
  assert len(second.get_lines()) == 1


@pytest.mark.parametrize("end", [0.25, 0.0, np.nan])
def test_a_curve_of_one_point_can_be_saved(tmp_path, end):
  products = {"algorithm_1.learn": product(points=1, end=end)}
  figure = plots.errors(CONFIG, products, ["algorithm_1"])
  report.save({"error": figure}, tmp_path)
  (axes,) = figure.axes
  said = [text.get_text() for text in axes.texts]
  assert said == ([] if end == 0.25 else ["no curve"])
  assert axes.get_yscale() == ("log" if end == 0.25 else "linear")


def test_where_every_seed_is_lost_there_is_no_point():
  axes = report.new_figure().subplots()
  values = np.array([[1.0, 3.0], [np.nan, 5.0], [np.nan, np.inf]])
  plots._band(axes, [1, 2, 3], values)
  np.testing.assert_array_equal(
    axes.get_lines()[0].get_ydata(), [2.0, 5.0, np.nan]
  )


def test_the_record_of_lost_members_is_no_number():
  q = np.full((2, 2, 3, 1), 2.0, np.float32)
  q[:, 1] = np.nan
  state = states.Learners(
    step=jnp.int32(0),
    member=jnp.arange(2, dtype=jnp.uint32),
    q=jnp.asarray(q),
    eta=jnp.zeros(q.shape),
    extra={},
    history=jnp.full((2, 2, 1), jnp.nan),
    reference=jnp.zeros((2, 3, 1)),
  )
  _, record = states.make_record(1)(state, None)
  np.testing.assert_array_equal(record["error"], [2.0, np.nan])


def test_inner_steps_stand_in_one_panel_at_the_largest_weight():
  products = {
    f"{arm}.learn": product(end=end)
    for arm, end in zip(plots.COLD, (0.3, 0.2, 0.1), strict=True)
  }
  (axes,) = plots.inner_steps(CONFIG, products).axes
  ends = {name: y[-1] for name, (_, y) in lines(axes).items()}
  expect = {"T' = 10": 0.3, "T' = 50": 0.2, "T' = 100": 0.1}
  assert ends == pytest.approx(expect)
  assert "lam 10" in axes.get_title()


def test_behaviours_stand_in_the_order_of_their_chances():
  swept = ["behaviour_5", "behaviour_001", "behaviour_1"]
  per_seed = {
    f"{arm}.final_error_lam_{lam}": [low * lam, 3 * low * lam]
    for arm, low in zip(swept, (1.0, 4.0, 2.0), strict=True)
    for lam in (1, 2, 5, 10)
  }
  drawn = lines(plots.behaviours(CONFIG, per_seed, swept).axes[0])
  assert list(drawn) == ["lam 1", "lam 2", "lam 5", "lam 10"]
  np.testing.assert_allclose(drawn["lam 5"][0], [0.001, 0.1, 0.5])
  np.testing.assert_allclose(drawn["lam 5"][1], [40, 20, 10])


def test_arrows_are_red_where_the_action_is_another():
  layout = ("S.", ".G")
  ordinary = np.array([[1.0, 0], [0, 1.0], [1.0, 0], [0, 0.5]])
  robust = np.array([[0, 1.0], [0, 1.0], [1.0, 0], [0, 0.5]])
  arrows = ((-1, 0), (0, 1))
  figure = drawing.grid(layout, arrows, {"a": ordinary, "b": robust})
  assert "red" in figure.get_suptitle()
  found = []
  for axes in figure.axes:
    arrowed = [t for t in axes.texts if getattr(t, "arrow_patch", None)]
    found.append([t.arrowprops["color"] for t in arrowed])
    letters = {t.get_text(): t.get_position() for t in axes.texts}
    assert letters["G"] == (1, 1)
    assert letters["S"] != (0, 0)  # Beside its arrow.
  assert found == [["black"] * 3, ["tab:red", "black", "black"]]


@pytest.mark.parametrize("lams", [(1e-6, 1e-5, 1.0), (0.5, 1e5, 1e6)])
def test_weights_of_any_size_stand_where_they_are(lams):
  config = dataclasses.replace(CONFIG, lams=lams)
  names = [problems.label(lam) for lam in lams]
  per_seed = {
    f"exact_chain.gap_lam_{name}": [3.0 - i] * 3 for i, name in enumerate(names)
  } | {
    f"plug_in.final_error_lam_{name}": [i, i + 2.0]
    for i, name in enumerate(names)
  }
  left, right = plots.gap(config, per_seed).axes
  np.testing.assert_array_equal(lines(left)["chain"], [lams, [3, 2, 1]])
  np.testing.assert_array_equal(
    right.get_lines()[0].get_data(), [lams, [1, 2, 3]]
  )


@pytest.mark.parametrize(
  ("arms", "lams"),
  [
    (("algorithm_1",), (1.0, 1.00001)),
    # An arm's own weights, on the same task.
    (("algorithm_2", "behaviour_5"), (2.00001,)),
  ],
)
def test_weights_with_one_name_are_refused(arms, lams):
  config = dataclasses.replace(CONFIG, arms=arms, lams=lams)
  with pytest.raises(UsageError, match=r"lams has .* do not tell apart"):
    problems.gather(config)
  apart = dataclasses.replace(CONFIG, arms=arms, lams=(1.001,))
  assert 1.001 in next(iter(problems.gather(apart)[0].values())).lams
