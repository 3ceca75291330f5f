"""The benchmark's rows: a search at once, and what K members cost.

A step of the search is one step of each of its fifty networks. "K members" are
four networks on 28x28 images with 64 images each: four networks vmapped, a
batch ensemble, a hyper-batch ensemble; and one network beside them.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from kd_jax import experiment
from kd_jax.methods.hyper_ensembles import peers, runs
from kd_jax.methods.hyper_ensembles.config import Config, DataConfig
from kd_jax.methods.hyper_ensembles.plans import Plan

RUNS, MEMBERS, IMAGES = 50, 4, 400
SMALL, LARGE = (8, 8, 1), (28, 28, 1)


@functools.lru_cache(maxsize=2)
def images(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
  """Noise to learn: a step's time does not depend on what is shown.

  Args:
    shape: of an image.

  Returns:
    Tables with one division.
  """
  rng = np.random.default_rng(0)
  n = 2 * IMAGES
  label = rng.integers(0, 10, n).astype(np.int32)
  train = np.arange(IMAGES, dtype=np.int32)[None]
  return {
    "image": rng.integers(0, 256, (n, *shape)).astype(np.uint8),
    "label": label,
    "train": train,
    "train_label": label[train],
    "val": train + IMAGES,
  }


def search_plan() -> Plan:
  """A network of the search: 64-64-64-10 on digits, six hyperparameters."""
  config = Config(arms=("single",), seeds=1, steps=1500)
  return Plan(config, "single", 10, IMAGES)


def search_lams() -> np.ndarray:
  """The vectors of the search."""
  return np.asarray(search_plan().space.draw(jax.random.key(0), RUNS))


def search_case() -> experiment.Phase:
  """All networks of a search, each from its own start.

  Returns:
    The phase to time.
  """
  return _phase(search_plan(), SMALL, RUNS, search_lams())


def ensemble_plan(model: str, kind: str) -> Plan:
  """A network of one kind of ensemble.

  Args:
    model: "mlp" or "lenet".
    kind: "single", "batch" or "hyper".

  Returns:
    The plan: L2 is the one hyperparameter, as the peers have no dropout.
  """
  config = Config(
    arms=("single",),
    seeds=1,
    model=model,
    widths=(200, 200),
    members=MEMBERS,
    tuned=("l2",),
    steps=10_000,
    data=DataConfig(train=IMAGES, val=IMAGES),
  )
  return Plan(config, kind, 10, IMAGES)


def ensemble_case(model: str, kind: str, networks: int) -> experiment.Phase:
  """A step of an ensemble.

  Args:
    model: "mlp" or "lenet".
    kind: of its networks.
    networks: how many; K of single ones, or one that is an ensemble itself.

  Returns:
    The phase to time.
  """
  plan = ensemble_plan(model, kind)
  lams = None
  if kind != "hyper":
    lams = np.full((networks, len(plan.space.names)), 1e-2, np.float32)
  return _phase(plan, LARGE, networks, lams)


def _phase(plan, shape, networks, lams):
  def init(products, seed):
    seeds = seed + jnp.arange(networks, dtype=jnp.uint32)
    tables = jnp.zeros(networks, jnp.int32)
    made = None if lams is None else jnp.asarray(lams)
    return runs.create(plan, shape, seeds, tables, made)

  # Where devices do not divide the networks, each device trains all of them.
  apart = networks > 1 and networks % jax.device_count() == 0
  return experiment.Phase(
    name="train",
    init=init,
    step=runs.make_step(plan),
    steps=plan.steps,
    data=images(shape),
    batch_size=networks * plan.members * plan.config.batch_size,
    split=runs.divided if apart else None,
    parts=plan.parts if apart else 1,
  )


def flops(model: str, shape: tuple[int, ...], widths: tuple[int, ...]) -> float:
  """Of one image of one member: forward, and twice as much backward.

  The first layer has no gradient of its inputs; an L2 and Adam's are left out.

  Args:
    model: "mlp" or "lenet".
    shape: of an image.
    widths: of the mlp's hidden layers.

  Returns:
    The count; kernels of a hyper-batch ensemble are twice as many.
  """
  h, w, c = shape
  if model == "mlp":
    ends = [h * w * c, *widths, 10]
    layers = [i * o for i, o in itertools.pairwise(ends)]
  else:
    places = [h * w, h * w // 4, h * w // 16]
    channels = [c, 6, 16, 120]
    layers = [
      25 * p * i * o
      for p, i, o in zip(places, channels[:-1], channels[1:], strict=True)
    ]
    layers += [120 * places[2] * 84, 84 * 10]
  return 2.0 * (3 * sum(layers) - layers[0])


def _flops_of(model, shape, widths, examples):
  return flops(model, shape, widths) * examples


def _search_peer(together: bool) -> peers.Run:
  return peers.torch_search(
    search_plan(), search_lams(), images(SMALL), together=together
  )


def _loop_peer() -> peers.Run:
  return peers.one_after_another(
    search_plan(), SMALL, search_lams(), images(SMALL)
  )


def _batch_peer(model: str) -> peers.Run:
  plan = ensemble_plan(model, "batch")
  return peers.torch_batch_ensemble(model, plan, LARGE, images(LARGE))


_NAMES = {
  ("single", 1): "one network",
  ("single", MEMBERS): "deep ensemble of 4, vmapped",
  ("batch", 1): "batch ensemble of 4",
  ("hyper", 1): "hyper-batch ensemble of 4",
}


def _ensemble(model: str, kind: str, networks: int) -> experiment.Case:
  members = networks if kind == "single" else MEMBERS
  kernels = 2 if kind == "hyper" else 1
  found: tuple[experiment.Peer, ...] = ()
  if kind == "batch":
    found = (
      experiment.Peer(
        "torch-uncertainty 0.13 (layers)",
        functools.partial(_batch_peer, model),
      ),
    )
  return experiment.Case(
    f"{model}: {_NAMES[kind, networks]}",
    functools.partial(ensemble_case, model, kind, networks),
    functools.partial(
      _flops_of, model, LARGE, (200, 200), 64 * members * kernels
    ),
    peers=found,
  )


CASES = (
  experiment.Case(
    "search, 50 runs of an mlp 64-64-64-10",
    search_case,
    functools.partial(_flops_of, "mlp", SMALL, (64, 64), 64 * RUNS),
    peers=(
      experiment.Peer("our single run, compiled, 50 times", _loop_peer),
      experiment.Peer(
        "PyTorch, eager, 50 times", functools.partial(_search_peer, False)
      ),
      experiment.Peer(
        "torch.func.vmap + torch.compile",
        functools.partial(_search_peer, True),
      ),
    ),
  ),
  *(
    _ensemble(model, kind, networks)
    for model in ("mlp", "lenet")
    for kind, networks in _NAMES
  ),
)
