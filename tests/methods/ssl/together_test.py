"""What rows share: negatives, and batch statistics of views and devices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.methods.ssl import LEARNERS, model, recipes, steps
from kd_jax.methods.ssl.learners import Outputs, Seen


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


def test_a_step_groups_its_views_as_the_settings_say(parts, batch, monkeypatch):
  asked, look = [], model.look

  def looked(*args, joint, **how):
    asked.append(joint)
    return look(*args, joint=joint, **how)

  monkeypatch.setattr(model, "look", looked)
  for arm in ("simclr", "swav", "dino", "byol"):
    *_, made, step = parts(arm)
    jax.eval_shape(step, made, batch)
  # DINO's and BYOL's slow networks look, too.
  assert asked == [True, True, True, True, False, False]
  config, s, learner, made, _ = parts("simclr")
  alone = dataclasses.replace(s, joint_statistics=False)
  jax.eval_shape(steps.make_train_step(config, alone, learner), made, batch)
  assert not asked[-1]


def test_views_share_batch_statistics_or_do_not(parts):
  """Of one batch each view's projections are centred, or all views' are."""
  views = np.random.default_rng(0).normal(size=(2, 8, 8, 8, 1))
  views[1] += 1  # Of a mean of their own.
  for arm, joint in (("simclr", True), ("simsiam", False)):
    config, s, learner, *_ = parts(arm)
    assert s.joint_statistics == joint
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
