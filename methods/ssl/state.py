"""What an arm carries from step to step, and its optimizer."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from kd_jax import optim
from kd_jax.methods.ssl import model
from kd_jax.methods.ssl.config import Config, Settings
from kd_jax.methods.ssl.learners import Learner
from kd_jax.training import state as states

PyTree = Any
# Folded into the seed's key.
NETWORK, MEMORY = 1, 2


@struct.dataclass
class SSLState(states.State):
  """What an arm carries.

  `model_state` holds "online" and "slow" (running statistics of the two
  networks) and "memory" (queue, centre).

  Attributes:
    slow: the slow network's parameters; {} where there is none.
  """

  slow: PyTree


def follows(learner: Learner, settings: Settings) -> str:
  """When the slow network follows; "" where the online one is the target."""
  return learner.teacher if settings.stop_gradient else ""


def create_state(
  config: Config,
  settings: Settings,
  learner: Learner,
  seed: Any,
  shape: tuple[int, ...],
  classes: int,
  *,
  tx: optax.GradientTransformation | None = None,
) -> SSLState:
  """An arm at step 0; the slow network is a copy of the online one.

  Args:
    config: the configuration.
    settings: the arm's.
    learner: the arm's.
    seed: the run's seed; may be traced.
    shape: of an image, (h, w, c).
    classes: how many.
    tx: the optimizer; `optimizer` if None.

  Returns:
    The state.
  """
  key = jax.random.key(seed)
  size = config.data.view_size
  x = jnp.zeros((1, size or shape[0], size or shape[1], shape[2]))
  network = model.network(config, settings, learner, classes)
  drawn = network.init(jax.random.fold_in(key, NETWORK), x, train=False)
  params, stats = drawn["params"], drawn.get("batch_stats", {})
  tx = optimizer(config, settings, learner) if tx is None else tx
  kept = {"online": stats}
  slow = {}
  if follows(learner, settings):
    slow, kept["slow"] = (_slow(tree) for tree in (params, stats))
  d = model.width(config, settings)
  memory = learner.memory(settings, jax.random.fold_in(key, MEMORY), d)
  return SSLState.create(
    seed=seed,
    params=params,
    opt_state=tx.init(params),
    model_state={**kept, "memory": memory},
    slow=slow,
  )


def _slow(tree):
  """A copy without the predictor."""
  kept = {k: v for k, v in tree.items() if k != "predictor"}
  return jax.tree.map(lambda x: jnp.array(x, copy=True), kept)


def optimizer(
  config: Config, settings: Settings, learner: Learner
) -> optax.GradientTransformation:
  """The optimizer, with the gradient edits that the method asks for.

  Args:
    config: the configuration.
    settings: the arm's.
    learner: the arm's.

  Returns:
    A transformation of the network's parameters. The encoder's own classifier,
    where it is a probe beside, has an Adam of its own; prototypes are held for
    the first steps; a predictor's rate may be constant; every array's gradient
    may be clipped.
  """
  s, steps = settings, config.steps
  schedule = optim.warmup_cosine(
    s.learning_rate,
    steps,
    warmup=round(s.warmup * steps),
    end=s.final_rate * s.learning_rate,
  )
  main = rule(s, schedule)
  if not learner.trains:
    main = optax.set_to_zero()
  held = round(s.freeze * steps)
  parts = {
    "main": main,
    "probe": optax.adam(
      optax.cosine_decay_schedule(config.probe.online_rate, steps)
    ),
    "prototypes": optim.hold(main, held) if held else main,
    "predictor": main,
  }
  if s.predictor_constant:
    parts["predictor"] = rule(s, s.learning_rate)

  def label(path, _):
    names = [k.key for k in path]
    if names[:2] == ["backbone", "head"] and not learner.labels:
      return "probe"
    return names[0] if names[0] in ("prototypes", "predictor") else "main"

  return optax.multi_transform(
    parts, lambda params: jax.tree_util.tree_map_with_path(label, params)
  )


def rule(settings: Settings, rate: Any) -> optax.GradientTransformation:
  """One rule of descent, with clipping and the rate of biases.

  Args:
    settings: says which.
    rate: a number or a schedule.

  Returns:
    The transformation.
  """
  s = settings
  decay, momentum = s.weight_decay, s.momentum
  rules = {
    "sgd": lambda: optax.chain(
      optax.add_decayed_weights(decay), optax.sgd(rate, momentum)
    ),
    "adam": lambda: optax.chain(
      optax.add_decayed_weights(decay), optax.adam(rate)
    ),
    "adamw": lambda: optax.adamw(
      rate, weight_decay=decay, mask=optim.is_matrix
    ),
    "lars": lambda: optim.lars(rate, weight_decay=decay, momentum=momentum),
    "lars_clipped": lambda: optim.lars_clipped(
      rate, weight_decay=decay, momentum=momentum
    ),
  }
  tx = rules[s.optimizer]()
  if s.clip:
    tx = optax.chain(optim.clip_each(s.clip), tx)
  if s.bias_rate != 1:
    tx = optax.chain(tx, optax.masked(optax.scale(s.bias_rate), _vectors))
  return tx


def _vectors(params):
  return jax.tree.map(lambda matrix: not matrix, optim.is_matrix(params))
