"""What a step leaves to the next: slow networks, queues, prototypes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import losses
from kd_jax.losses.norms import l2_normalize
from kd_jax.methods.ssl import state
from kd_jax.methods.ssl.learners import queue


@pytest.mark.parametrize(
  ("arm", "behind", "left"),
  [
    ("moco_v2", 1, 0.01),
    # What is left rises: it has for one of 20 steps.
    ("byol", 0, 0.05 * (np.cos(np.pi / 20) + 1) / 2),
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
  rings, pushed = {"moco_v2plus": (2, 8), "moco_notebook": (1, 16)}.get(
    arm, (1, 8)
  )
  ring = kept["memory"]["keys"]
  assert ring.rows.shape == (rings, 16, 6)
  assert ring.filled == pushed


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
