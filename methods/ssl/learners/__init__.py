"""The eight methods, a file each; `arms.register` makes a ninth known."""

from kd_jax.methods.ssl.learners import (
  barlow,
  byol,
  controls,
  dino,
  moco,
  simclr,
  simsiam,
  swav,
  vicreg,
)
from kd_jax.methods.ssl.learners.record import Learner, Outputs, Seen, scaled

__all__ = ["LEARNERS", "Learner", "Outputs", "Seen", "scaled"]

LEARNERS: dict[str, Learner] = {
  learner.name: learner
  for learner in (
    simclr.LEARNER,
    swav.LEARNER,
    moco.V2,
    moco.V3,
    byol.LEARNER,
    dino.LEARNER,
    simsiam.LEARNER,
    vicreg.LEARNER,
    barlow.LEARNER,
    moco.V1,
    moco.V2_PLUS,
    moco.NOTEBOOK,
    controls.RANDOM,
    controls.SUPERVISED,
  )
}
