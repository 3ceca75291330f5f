"""What a step leaves to the next: slow networks, queues, prototypes."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import losses
from kd_jax.losses.norms import l2_normalize
from kd_jax.methods.ssl import model, state, steps
from kd_jax.methods.ssl.learners import queue
from kd_jax.training.state import step_key


@pytest.mark.parametrize(
  ("arm", "behind", "left"),
  [
    ("moco_v2", 1, 0.01),
    # What is left falls: it has for one of 20 steps.
    ("moco_v3", 1, 0.01 * (np.cos(np.pi / 20) + 1) / 2),
    ("byol", 0, 0.05 * (np.cos(np.pi / 20) + 1) / 2),
    ("dino", 0, 0.01 * (np.cos(np.pi / 20) + 1) / 2),
  ],
)
def test_mocos_slow_network_follows_before_and_byols_after(
  arm, behind, left, stepped
):
  states, _ = stepped(arm)
  assert "predictor" not in states[0].slow
  for name in states[2].slow:
    jax.tree.map(
      lambda new, old, source: np.testing.assert_allclose(
        new - old, left * (source - old), rtol=1e-3, atol=1e-7
      ),
      states[2].slow[name],
      states[1].slow[name],
      states[2 - behind].params[name],
    )
  kernels = [s.params["projector"]["dense_0"]["kernel"] for s in states]
  assert np.abs(kernels[1] - kernels[2]).max() > 1e-3


def test_without_momentum_keys_are_of_the_network_as_the_step_began(stepped):
  states, _ = stepped("moco_no_momentum")
  for before, after in itertools.pairwise(states):
    jax.tree.map(np.testing.assert_array_equal, after.slow, before.params)
  kernels = [s.slow["projector"]["dense_0"]["kernel"] for s in states[1:]]
  assert np.abs(kernels[0] - kernels[1]).max() > 1e-3


def test_the_slow_network_has_running_statistics_of_its_own(stepped):
  (old, new, _), _ = stepped("byol")
  online, slow = (
    new.model_state[name]["backbone"]["norm_0"]["mean"]
    for name in ("online", "slow")
  )
  start = old.model_state["slow"]["backbone"]["norm_0"]["mean"]
  # Both saw the same views with the same parameters, in the first step.
  np.testing.assert_allclose(slow, online, rtol=1e-5)
  assert np.abs(slow - start).max() > 1e-4


def test_without_the_stop_the_target_is_the_online_network(parts, passed):
  assert parts("byol_no_stop")[3].slow == {}
  s, learner, out, _ = passed("byol_no_stop")
  np.testing.assert_array_equal(out.targets[1].z, out.views[1].z)
  expected = losses.byol(*(v.p for v in out.views), *(v.z for v in out.targets))
  got = learner.terms(out, s)["regression"]
  np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_without_the_stop_gradients_go_through_the_target(parts, batch):
  config, s, learner, made, _ = parts("byol_no_stop")

  def value(params):
    key = step_key(made)
    out, _ = steps.forward(config, s, learner, params, made, batch, key)
    return jnp.square(out.targets[0].z).sum()

  grads = jax.jit(jax.grad(value))(made.params)
  assert np.abs(grads["projector"]["dense_0"]["kernel"]).max() > 1e-2


def test_moco_pushes_the_keys_that_it_has_seen(passed, stepped):
  *_, out, kept = passed("moco_v2")
  ring = kept["memory"]["keys"]
  keys = l2_normalize(out.targets[1].z)
  np.testing.assert_allclose(ring.rows[0, :8], keys, rtol=1e-5)
  np.testing.assert_array_equal(
    ring.rows[0, 8:], out.memory["keys"].rows[0, 8:]
  )
  assert (ring.place, ring.filled) == (8, 8)
  (_, _, after), _ = stepped("moco_v2")
  assert after.model_state["memory"]["keys"].place == 0  # Round.
  assert after.model_state["memory"]["keys"].filled == 16


def test_a_ring_begins_with_unit_vectors_that_do_not_count():
  ring = queue.create(jax.random.key(0), 2, 5, 3)
  lengths = np.linalg.norm(ring.rows, axis=-1)
  np.testing.assert_allclose(lengths, np.ones((2, 5)), rtol=1e-6)
  assert (ring.place, ring.filled) == (0, 0)


def test_a_ring_keeps_the_newest():
  ring = queue.create(jax.random.key(0), 1, 4, 2)
  for i in range(3):
    rows = jnp.full((1, 2, 2), float(i))
    ring = queue.push(ring, rows, wanted=i != 1)
  np.testing.assert_array_equal(ring.rows[0, :, 0], [0, 0, 2, 2])
  assert (ring.place, ring.filled) == (0, 4)


@pytest.mark.parametrize("arm", ["moco_v1", "moco_v2plus", "moco_notebook"])
def test_forms_of_moco(arm, passed):
  s, learner, out, kept = passed(arm)

  def way(query, key, ring):
    return losses.info_nce_queue(
      out.views[query].z,
      out.targets[key].z,
      out.memory["keys"].rows[ring],
      temperature=s.temperature,
    )

  expected = {
    "moco_v1": lambda: way(0, 1, 0),
    "moco_v2plus": lambda: (way(0, 1, 0) + way(1, 0, 1)) / 2,
    "moco_notebook": lambda: way(0, 1, 0) + way(1, 0, 0),
  }[arm]()
  got = learner.terms(out, s)["contrast"]
  np.testing.assert_allclose(got, expected, rtol=1e-5)
  # Whose keys each ring gets: the one that view 0's queries meet gets view 1's.
  pushed = {"moco_v2plus": ((1,), (0,)), "moco_notebook": ((1, 0),)}.get(
    arm, ((1,),)
  )
  ring = kept["memory"]["keys"]
  assert ring.rows.shape == (len(pushed), 16, 6)
  assert ring.filled == 8 * len(pushed[0])
  keys = [l2_normalize(target.z) for target in out.targets]
  for rows, of in zip(ring.rows, pushed, strict=True):
    new = np.concatenate([keys[view] for view in of])
    np.testing.assert_allclose(rows[: len(new)], new, rtol=1e-5, atol=1e-7)


def test_dino_moves_its_centre_after_using_it(passed):
  s, learner, out, kept = passed("dino")
  assert len(out.views) == 4
  assert len(out.targets) == 2
  raw = np.stack([view.scores for view in out.targets])
  np.testing.assert_array_equal(out.memory["centre"], 0)
  np.testing.assert_allclose(
    kept["memory"]["centre"], 0.1 * raw.mean((0, 1)), rtol=1e-4, atol=1e-6
  )
  expected = losses.dino(
    np.stack([view.scores for view in out.views]),
    raw,
    np.zeros(5, np.float32),
    student_temperature=0.1,
    teacher_temperature=0.04,
  )
  got = learner.terms(out, s)["self_distillation"]
  np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_prototypes_have_unit_length(stepped, passed):
  (_, new, _), _ = stepped("swav")
  lengths = np.linalg.norm(new.params["prototypes"], axis=1)
  np.testing.assert_allclose(lengths, 1, rtol=1e-6)
  *_, out, _ = passed("dino")
  lengths = np.linalg.norm(out.prototypes, axis=1)
  np.testing.assert_allclose(lengths, 1, rtol=1e-6)


@pytest.mark.parametrize("arm", ["swav", "dino"])
def test_scores_are_cosines_with_the_prototypes(arm, passed):
  *_, out, _ = passed(arm)
  for view in (*out.views, *out.targets):
    unit = view.z / np.linalg.norm(view.z, axis=1, keepdims=True)
    # The slow network's prototypes are still the same.
    expected = unit @ out.prototypes.T
    np.testing.assert_allclose(view.scores, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(view.scores).max() <= 1 + 1e-6


def test_gradients_go_through_the_length_of_dinos_prototypes_alone(
  parts, stepped
):
  """So its stored table need not stay of unit length."""
  weight = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
  radial = {}
  for arm in ("swav", "dino"):
    config, s, learner, made, _ = parts(arm)
    net = model.network(config, s, learner, 3)

    def weighed(table, net=net):
      variables = {"params": {"prototypes": table}}
      return (net.apply(variables, method="vectors") * weight).sum()

    table = made.params["prototypes"]
    radial[arm] = (jax.grad(weighed)(table) * table).sum(1)
  along = (weight * parts("swav")[3].params["prototypes"]).sum(1)
  np.testing.assert_allclose(radial["swav"], along, rtol=1e-5)
  np.testing.assert_allclose(radial["dino"], 0, atol=1e-6)
  (old, new, _), _ = stepped("dino")
  old, new = (x.params["prototypes"].astype(float) for x in (old, new))
  # Of SGD's first step what is along a row is the decay, 1e-4 of it.
  np.testing.assert_allclose(((new - old) * old).sum(1), -0.1 * 1e-4, rtol=0.05)
  assert np.abs(new - old).max() > 1e-3


def test_swavs_queue_counts_once_it_is_full(passed, stepped):
  states, _ = stepped("swav")
  jax.tree.map(jnp.asarray, states)
  for number, full in ((1, False), (2, True)):
    made = jax.tree.map(jnp.asarray, states[number])
    s, learner, out, _ = passed("swav", made)
    ring = out.memory["embeddings"]
    assert (ring.filled == 16) == full
    codes = []
    for view in range(2):
      old = jnp.asarray(ring.rows[view]) @ out.prototypes.T
      codes.append(
        losses.sinkhorn_codes(
          out.views[view].scores, old if full else None, epsilon=s.epsilon
        )
      )
    expected = losses.swapped_prediction(
      jnp.stack([view.scores for view in out.views]),
      jnp.stack(codes),
      temperature=s.temperature,
    )
    got = learner.terms(out, s)["prediction"]
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_held_prototypes(parts):
  """A tenth of 20 steps; all else moves, but for the first of a warm-up."""
  config, s, learner, made, _ = parts("dino")
  s = dataclasses.replace(s, freeze=0.1, warmup=0.05, optimizer="adamw")
  tx = state.optimizer(config, s, learner)
  moves, grads, opt_state = [], made.params, tx.init(made.params)
  update = jax.jit(tx.update)
  for _ in range(3):
    moved, opt_state = update(grads, opt_state, made.params)
    moves.append(jax.tree.map(lambda x: np.abs(x).max(), moved))
  assert [m["prototypes"] > 1e-5 for m in moves] == [False, False, True]
  assert [m["prototypes"] for m in moves[:2]] == [0, 0]
  others = [m["projector"]["dense_0"]["kernel"] for m in moves]
  assert [x > 1e-5 for x in others] == [False, True, True]
