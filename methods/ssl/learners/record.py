"""What a method is, beside what all of them share."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from jaxtyping import Array, Float, Int

PyTree = Any


class Seen(NamedTuple):
  """What a network says of a view.

  Attributes:
    h: the representation, pooled features.
    logits: of the encoder's own classifier.
    z: the projection.
    p: the prediction; z where there is no predictor.
    scores: cosines with the prototypes; None where there are none.
  """

  h: Float[Array, "b r"]
  logits: Float[Array, "b c"]
  z: Float[Array, "b d"]
  p: Float[Array, "b d"]
  scores: Float[Array, "b k"] | None


class Outputs(NamedTuple):
  """What a step's forward passes give.

  Attributes:
    views: of the online network, the two global ones first.
    targets: of the slow network, for the global views; where a method has none,
      the online network's own.
    prototypes: of unit length, or None.
    memory: what earlier steps left (queue, centre); constants.
    progress: the part of the training that is over.
    monitors: numbers of the whole batch that show a collapse.
    online: logits of the classifier that is trained beside, on constant
      features of the global views.
    label: of the images; None without.
  """

  views: tuple[Seen, ...]
  targets: tuple[Seen, ...]
  prototypes: Float[Array, "k d"] | None
  memory: PyTree
  progress: Float[Array, ""]
  monitors: Mapping[str, Float[Array, ""]]
  online: Float[Array, "v b c"] | None
  label: Int[Array, "b"] | None


def scaled(*names: str) -> Callable[[Any], dict[str, float]]:
  """Weights of terms: all of them the settings' `scale`.

  Args:
    *names: the terms.

  Returns:
    `(settings) -> {name: weight}`.
  """
  return lambda settings: dict.fromkeys(names, settings.scale)


def _nothing(*args: Any, **how: Any) -> dict[str, Any]:
  del args, how
  return {}


def _same(memory: PyTree, *args: Any, **how: Any) -> PyTree:
  del args, how
  return memory


@dataclasses.dataclass(frozen=True)
class Learner:
  """A method: its heads (in its defaults), its loss, its state's update.

  Attributes:
    name: the arm's.
    title: what it is, in a few words.
    terms: `(outputs, settings, *, where, axis_name) -> {name: one value per
      example, or a scalar}`.
    weights: `(settings) -> {name: weight}` of these terms (`scaled`).
    defaults: settings that the method has in every recipe.
    teacher: when the slow copy follows: "before" the step's forward pass
      (MoCo), "after" its update (BYOL, DINO), or never, "".
    views: how many views it takes; 0 is all there are.
    prototypes: "weight_norm": gradients go through their normalisation, "unit":
      they are normalised after each step, "": there are none.
    memory: `(settings, key, d) -> what is carried`, at step 0.
    remember: `(memory, outputs, settings, *, axis_name) -> memory`, the same on
      every device.
    labels: whether it trains the encoder on labels.
    trains: whether the encoder is trained at all.
  """

  name: str
  title: str
  terms: Callable[..., Mapping[str, Any]]
  weights: Callable[[Any], Mapping[str, float]]
  defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  teacher: Literal["", "before", "after"] = ""
  views: int = 2
  prototypes: Literal["", "weight_norm", "unit"] = ""
  memory: Callable[..., PyTree] = _nothing
  remember: Callable[..., PyTree] = _same
  labels: bool = False
  trains: bool = True
