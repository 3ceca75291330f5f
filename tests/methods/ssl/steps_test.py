import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax import accel, fields, losses, metrics
from kd_jax.datasets import pipeline
from kd_jax.errors import UsageError
from kd_jax.losses.norms import l2_normalize
from kd_jax.methods.ssl import LEARNERS, arms, model, recipes, state, steps
from kd_jax.methods.ssl.learners import Learner, Outputs, Seen, queue, scaled
from kd_jax.training.state import step_key


@pytest.fixture(name="passed")
def passed_fixture(parts, forward):
  """Gives settings, method, outputs and what is kept of an arm's pass."""

  def passed(arm, made=None):
    _, settings, learner, state, _ = parts(arm)
    return settings, learner, *forward(arm)(state if made is None else made)

  return passed


@pytest.mark.parametrize("arm", arms.METHODS)
def test_one_device_is_four(arm, stepped):
  (_, _, one), logged = stepped(arm)
  (_, _, four), logged4 = stepped(arm, 4)
  leaves = jax.tree_util.tree_leaves_with_path(one)
  for (path, a), b in zip(leaves, jax.tree.leaves(four), strict=True):
    # A bias before batch statistics has the noise of others' gradients for its
    # own, of which Adam makes steps of its rate, .002, two of them.
    idle = "['projector']['dense_1']['bias']" in jax.tree_util.keystr(path)
    atol = 5e-3 if idle else 2e-4
    np.testing.assert_allclose(a, b, rtol=2e-3, atol=atol)
  a, b = metrics.compute(logged), metrics.compute(logged4)
  assert set(a) == set(b)
  for name, value in a.items():
    np.testing.assert_allclose(b[name], value, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("arm", arms.METHODS)
def test_every_parameter_is_trained(arm, stepped):
  (old, _, new), _ = stepped(arm)
  moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), old.params, new.params)
  paths = jax.tree_util.tree_leaves_with_path(moved)
  still = {jax.tree_util.keystr(p) for p, value in paths if not value}
  # A bias before batch statistics moves nothing; here there is none.
  assert not still


def _average(old, new, keep):
  return jax.tree.map(lambda a, b: keep * a + (1 - keep) * b, old, new)


def test_mocos_slow_network_follows_before_and_byols_after(stepped):
  for arm, behind in (("moco_v2", 1), ("byol", 0)):
    states, _ = stepped(arm)
    slow = states[2].slow
    source = {k: v for k, v in states[2 - behind].params.items() if k in slow}
    expected = _average(states[1].slow, source, 0.99)
    rate = 2e-3 if arm == "byol" else 1e-6  # BYOL's .99 has begun to rise.
    jax.tree.map(
      lambda a, b, r=rate: np.testing.assert_allclose(a, b, rtol=1e-5, atol=r),
      slow,
      expected,
    )
  assert "predictor" not in states[0].slow
  assert "predictor" in states[0].params


def test_byols_rate_rises_to_one(stepped):
  """The slow network's step, over the distance, is what the cosine says: the
  rate starts at .95 and has risen for one of 20 steps."""
  states, _ = stepped("byol")
  old, new = (states[i].slow["projector"]["dense_0"]["kernel"] for i in (1, 2))
  source = states[2].params["projector"]["dense_0"]["kernel"]
  left = np.linalg.norm(source - new) / np.linalg.norm(source - old)
  part = (np.cos(np.pi * 1 / 20) + 1) / 2
  np.testing.assert_allclose(left, 1 - 0.05 * part, rtol=1e-4)


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
  tx = state.optimizer(config, dataclasses.replace(s, freeze=0.1), learner)
  moves, grads, opt_state = [], made.params, tx.init(made.params)
  update = jax.jit(tx.update)
  for _ in range(3):
    moved, opt_state = update(grads, opt_state, made.params)
    moves.append(jax.tree.map(lambda x: np.abs(x).max(), moved))
  assert [m["prototypes"] > 1e-5 for m in moves] == [False, False, True]
  assert [m["prototypes"] for m in moves[:2]] == [0, 0]
  others = [m["projector"]["dense_0"]["kernel"] for m in moves]
  assert [x > 1e-5 for x in others] == [False, True, True]


@pytest.mark.parametrize("arm", ["simclr", "moco_v3"])
def test_negatives_of_all_devices_or_of_ones_own(arm, config_of):
  z = np.random.default_rng(0).normal(size=(4, 4, 3, 6)).astype(np.float32)
  learner, config = LEARNERS[arm], config_of(arm)

  def terms(z, settings):
    """Of the rows of a device: two views, two targets."""
    views = [Seen(x, x, x, x, None) for x in z]
    out = Outputs(views[:2], views[2:], None, {}, 0.0, {}, None, None)
    return learner.terms(out, settings, axis_name="batch")["contrast"]

  def on_devices(**own):
    s = dataclasses.replace(recipes.settings(config, arm), **own)
    run = jax.vmap(lambda z: terms(z, s), axis_name="batch")
    return s, run(z)

  s, every = on_devices()
  views = [Seen(x, x, x, x, None) for x in z.swapaxes(0, 1).reshape(4, 12, 6)]
  out = Outputs(views[:2], views[2:], None, {}, 0.0, {}, None, None)
  whole = learner.terms(out, s)["contrast"]
  np.testing.assert_allclose(every.ravel(), whole, rtol=1e-5)
  s, own = on_devices(local_negatives=True)
  out = Outputs(
    [Seen(x, x, x, x, None) for x in z[1, :2]],
    [Seen(x, x, x, x, None) for x in z[1, 2:]],
    *(None, {}, 0.0, {}, None, None),
  )
  alone = learner.terms(out, s)["contrast"]
  np.testing.assert_allclose(own[1], alone, rtol=1e-5)
  assert np.abs(own - every).min() > 1e-3


def test_batch_statistics_of_a_device_alone(config_of):
  config, learner = config_of("simclr"), LEARNERS["simclr"]
  for local, axis in ((False, "batch"), (True, None)):
    s = dataclasses.replace(
      recipes.settings(config, "simclr"), local_statistics=local
    )
    net = model.network(config, s, learner, 3, axis_name="batch")
    assert (net.backbone.axis_name, net.projector.axis_name) == (axis, axis)


def test_views_share_batch_statistics_or_do_not(parts):
  """Of one batch each view's projections are centred, or all views' are."""
  views = np.random.default_rng(0).normal(size=(2, 8, 8, 8, 1))
  views[1] += 1  # Of a mean of their own.
  for arm, joint in (("simclr", True), ("simsiam", False)):
    config, s, learner, *_ = parts(arm)
    assert learner.joint == joint
    s = dataclasses.replace(s, projector="6 bn-", predictor="")
    net = model.network(config, s, learner, 3)

    def run(views, net=net, joint=joint):
      variables = net.init(jax.random.key(0), views[0], train=False)
      how = {"train": True, "mutable": ["batch_stats"]}
      expected = dict(variables)
      # Running statistics move once for all views, or once a view.
      for x in [views.reshape(16, 8, 8, 1)] if joint else views:
        expected |= net.apply(expected, x, **how)[1]
      seen, moved = model.look(net, variables, [views], joint=joint)
      return seen, moved, expected["batch_stats"]

    seen, moved, expected = jax.jit(run)(jnp.asarray(views, jnp.float32))
    z = np.stack([view.z for view in seen])
    np.testing.assert_allclose(z.mean((0, 1)), 0, atol=1e-5)
    assert (np.abs(z.mean(1)).max() < 1e-5) != joint
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
      moved,
      expected,
    )


def test_the_online_probe_sends_no_gradient_back(parts, batch):
  config, s, learner, made, _ = parts("simclr")

  def online(params):
    out, _ = steps.forward(
      config, s, learner, params, made, batch, step_key(made)
    )
    return steps.terms(s, learner, out, batch)["online"].sum()

  grads = jax.jit(jax.grad(online))(made.params)
  head = grads["backbone"].pop("head")
  assert np.abs(head["kernel"]).max() > 1e-3
  assert max(np.abs(g).max() for g in jax.tree.leaves(grads)) == 0


def test_without_the_stop_the_target_is_the_online_network(parts, passed):
  assert parts("byol_no_stop")[3].slow == {}
  s, learner, out, _ = passed("byol_no_stop")
  np.testing.assert_array_equal(out.targets[1].z, out.views[1].z)
  expected = losses.byol(*(v.p for v in out.views), *(v.z for v in out.targets))
  got = learner.terms(out, s)["regression"]
  np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("arm", arms.METHODS)
def test_every_step_lowers_for_accelerators(arm, parts, batch):
  *_, made, step = parts(arm)
  columns = {
    k: np.tile(batch[k], (2,) + (1,) * (batch[k].ndim - 1))
    for k in ("image", "label")
  }
  lifted = accel.data_parallel(
    pipeline.from_columns(step, 8), mode="shard_map", data="replicated"
  )
  platforms = ("cuda", "tpu")
  exported = lifted.export(jax.eval_shape(lambda: made), columns, platforms)
  assert exported.platforms == platforms
  assert exported.nr_devices == 4
  assert "all_" in exported.mlir_module()


def test_user_terms_join_the_loss(parts, batch):
  config, s, learner, made, _ = parts("vicreg")

  def extra(outputs, batch, *, axis_name=None):
    return {"size": (outputs.views[0].h ** 2).mean(-1)}

  step = steps.make_train_step(
    config, s, learner, extra_terms=[(extra, {"size": 0.1})]
  )
  _, found = jax.eval_shape(step, made, batch)
  assert {"size", "variance", "invariance", "covariance"} <= set(found)


def _align(out, s, *, where=None, axis_name=None):
  """Wang and Isola 2020: partners near, all embeddings spread."""
  first, second = (l2_normalize(view.z) for view in out.views)
  near = ((first - second) ** 2).sum(-1)
  every = accel.all_gather(first, axis_name)
  apart = ((first[:, None] - every[None]) ** 2).sum(-1)
  spread = jnp.log(accel.mean(jnp.exp(-2 * apart).mean(), axis_name))
  return {"alignment": near, "uniformity": spread}


def test_a_ninth_method(parts, batch, config_of, monkeypatch):
  for table in (LEARNERS, arms.ARMS):
    monkeypatch.setitem(table, "align", None)
  ninth = Learner(
    name="align",
    title="alignment and uniformity",
    terms=_align,
    weights=scaled("alignment", "uniformity"),
  )
  arms.register(ninth)
  # In the first step of a warm-up the rate is 0.
  config = fields.override(config_of("align"), {"settings.warmup": 0.0})
  *_, made, step = parts("align", config)
  new, found = jax.jit(step)(made, batch)
  assert np.isfinite(found["alignment"].total)
  assert "uniformity" in found
  before = made.params["projector"]["dense_1"]["kernel"]
  after = new.params["projector"]["dense_1"]["kernel"]
  assert np.abs(before - after).max() > 1e-4
  with pytest.raises(UsageError, match="'byol' is one of ours"):
    arms.register(dataclasses.replace(ninth, name="byol"))
