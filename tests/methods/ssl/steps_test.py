"""The step of every method, and what users add to it."""

import jax
import numpy as np
import pytest

from kd_jax import accel, metrics
from kd_jax.datasets import pipeline
from kd_jax.methods.ssl import arms, model, steps
from kd_jax.training.state import step_key


@pytest.mark.parametrize("arm", [*arms.METHODS, "moco_v2plus"])
def test_one_device_is_four(arm, stepped):
  (_, _, one), logged = stepped(arm)
  (_, _, four), logged4 = stepped(arm, 4)
  # Rounding of what is small beside its neighbours: JAX 0.11 sums otherwise.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=5e-5),
    one,
    four,
  )
  a, b = metrics.compute(logged), metrics.compute(logged4)
  assert set(a) == set(b)
  for name, value in a.items():
    np.testing.assert_allclose(b[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("arm", arms.METHODS)
def test_every_parameter_is_trained(arm, stepped):
  (old, _, new), _ = stepped(arm)
  moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), old.params, new.params)
  paths = jax.tree_util.tree_leaves_with_path(moved)
  still = {jax.tree_util.keystr(p) for p, value in paths if not value}
  # A bias before batch statistics moves nothing; here there is none.
  assert not still


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


def test_labels_train_the_encoder_of_the_upper_bound(parts, passed, batch):
  s, learner, out, _ = passed("supervised")
  (view,) = out.views  # One view alone.
  logits = np.asarray(view.logits, float)
  own = logits[np.arange(8), np.asarray(batch["label"])]
  expected = np.log(np.exp(logits).sum(1)) - own
  got = steps.terms(s, learner, out, batch)
  assert set(got) == {"cross_entropy"}  # And no probe beside.
  np.testing.assert_allclose(got["cross_entropy"], expected, rtol=1e-5)
  *_, made, step = parts("supervised")
  new, _ = jax.jit(step)(made, batch)
  for name in ("conv_0", "head"):
    before, after = (x.params["backbone"][name]["kernel"] for x in (made, new))
    assert np.abs(before - after).max() > 1e-4


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


def test_cosines_with_prototypes_are_exact(parts, batch):
  """An accelerator would multiply in 8 bits; they are divided by .04."""
  config, s, learner, made, _ = parts("dino")
  net = model.network(config, s, learner, 3)

  def scores(params):
    variables = {"params": params, "batch_stats": made.model_state["online"]}
    return net.apply(variables, batch["image"] / 255.0, train=False).scores

  found = jax.make_jaxpr(scores)(made.params)
  products = [e for e in found.eqns if e.primitive.name == "dot_general"]
  wanted = [e for e in products if e.outvars[0].aval.shape == (8, 5)]
  assert len(wanted) == 1
  assert set(wanted[0].params["precision"]) == {jax.lax.Precision.HIGHEST}
