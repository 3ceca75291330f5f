"""What a step of the weights is shown, and whose losses it lowers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kd_jax.datasets import pipeline
from kd_jax.methods.hyper_ensembles import learner, space
from kd_jax.methods.hyper_ensembles.config import DataConfig
from kd_jax.methods.hyper_ensembles.networks import Given

SHAPE = (8, 8, 1)
SEED, TABLE = np.uint32(3), np.int32(1)


@pytest.fixture(scope="module")
def shown(plan_of, world):
  """Gives the 300 images that a step is shown, of images of one's own."""
  data = DataConfig(train=40, val=20, mean=(0.5,), std=(0.25,), augment=True)
  plan = plan_of(data=data, batch_size=300)

  def objective(params, model_state, plan, x, y, lam, key, rows):
    return jnp.float32(0), ({"x": x[0]}, jnp.zeros(len(y)))

  def step(images):
    lam = jnp.ones(len(plan.space.names))
    member = learner.create(plan, SHAPE, SEED, TABLE, lam)
    tables = world | {"image": images}
    return learner.train(plan, member, jnp.int32(5), tables)[0].model_state["x"]

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(learner, "objective", objective)
    return jax.jit(step).lower(world["image"]).compile()


def test_what_a_shift_brings_in_is_black(shown):
  """And not the mean: images are normalised after it."""
  x = np.asarray(shown(jnp.full((200, *SHAPE), 255, jnp.uint8)))
  assert set(np.unique(x)) == {-2.0, 2.0}
  # Rows and columns that came in, two of each at most.
  black = np.stack([(x == -2).all(axis).sum((1, 2)) for axis in (1, 2)])
  assert set(np.unique(black)) == {0, 1, 2}


def test_images_move_by_up_to_two_pixels_and_half_are_mirrored(shown, world):
  images = np.random.default_rng(0).integers(0, 256, (200, *SHAPE))
  x = np.asarray(shown(jnp.asarray(images, jnp.uint8)))
  at = pipeline.host_rows(int(SEED), 5, 300, 40)
  rows = np.asarray(world["train"])[TABLE, at]
  counts = np.zeros((2, 5, 5), int)
  for got, row in zip(x, rows, strict=True):
    wide = np.pad(images[row] / 255, ((2, 2), (2, 2), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(wide, SHAPE)[:, :, 0]
    both = np.stack([windows, windows[..., ::-1, :]]) / 0.25 - 2
    (place,) = np.argwhere(np.abs(both - got).max((3, 4, 5)) < 1e-4)
    counts[tuple(place)] += 1
  assert counts.sum() == 300
  # Every place is as frequent; 150 and 12 +- three deviations.
  assert np.abs(counts.sum((1, 2)) - 150).max() < 26
  assert 2 <= counts.sum(0).min() <= counts.sum(0).max() <= 22


@pytest.mark.parametrize(
  ("kind", "loss", "of_members"),
  [
    ("hyper", "gibbs", True),
    ("hyper", "ensemble", False),
    ("batch", "ensemble", True),
    ("stn", "gibbs", True),
  ],
)
def test_members_own_losses_are_lowered_unless_it_is_asked_otherwise(
  plan_of, world, kind, loss, of_members
):
  """ "ensemble" is of networks that know their lambda, as an ablation."""
  fields = {"tuned": ("l2", "smoothing"), "smoothing_range": (0.1, 0.5)}
  plan = plan_of(kind, hyper={"loss": loss, "embed_scale": 1.0}, **fields)
  lam = jnp.array([2.0, 2.0, 0.4])
  start = functools.partial(learner.create, plan, SHAPE, SEED, TABLE)
  member = jax.jit(start)(None if plan.aware else lam)
  x = (world["image"][:8] / jnp.float32(255))[None]
  y = world["label"][:8]
  wide = jnp.broadcast_to(lam, (plan.members, 1, 3))

  @jax.jit
  def both(params):
    _, (_, each) = learner.objective(
      *(params, {}, plan, x, y, wide, jnp.zeros(2, jnp.uint32), jnp.arange(8)),
    )
    given = Given(z=space.transformed(plan.space, wide, True))
    return each, plan.net.apply({"params": params}, x, given, train=True)

  each, logits = both(member.params)
  log_p = np.asarray(jax.nn.log_softmax(logits), float)
  target = 0.6 * np.eye(10)[np.asarray(y)] + 0.04
  gibbs = -(target * log_p).sum(-1).mean(0)
  ensemble = -np.log(np.exp(log_p).mean(0)[np.arange(8), y])
  assert np.abs(gibbs - ensemble).max() > 0.05
  np.testing.assert_allclose(each, gibbs if of_members else ensemble, rtol=1e-4)
