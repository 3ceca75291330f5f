"""What `reproduce` judges.

The orderings are what every one of the papers takes for granted: what is
learned without labels is better than what was drawn, and less good than what
labels teach. That a guard is needed the papers say of their own. Accuracies are
of the last step on test images; no number here has the scale of a published
one.
"""

from kd_jax.experiment import Claim
from kd_jax.methods.ssl.arms import METHODS

KNN, PROBE = "test_knn", "test_probe"
_MARGIN = 0.05


def _better(arm: str, metric: str, title: str) -> Claim:
  return Claim(
    name=f"{arm} learns ({title})",
    statement=f"{arm} beats the encoder as it was drawn by five points, "
    f"{title}",
    kind="ours",
    treatment=(arm, metric),
    baseline=("random", metric),
    margin=_MARGIN,
  )


def _below(arm: str) -> Claim:
  return Claim(
    name=f"labels beat {arm}",
    statement=f"the same encoder trained on labels is above {arm}, kNN",
    kind="sanity",
    treatment=("supervised", KNN),
    baseline=(arm, KNN),
  )


def _collapses(
  arm: str, metric: str, below: float, statement: str, kind="paper"
) -> Claim:
  return Claim(
    name=f"{arm} collapses",
    statement=statement,
    kind=kind,
    treatment=(arm, metric),
    baseline=below,
    sign=-1,
  )


SPREAD = "test_z_spread"
_SLOW = Claim(
  name="moco_v2 needs a slow encoder",
  statement="keys of a slow encoder give MoCo better neighbours than keys of "
  "the encoder as it was a step before",
  kind="paper",
  treatment=("moco_v2", KNN),
  baseline=("moco_no_momentum", KNN),
)
CLAIMS = (
  *(
    _better(arm, metric, title)
    for arm in METHODS
    for metric, title in ((KNN, "kNN"), (PROBE, "linear probe"))
  ),
  *(_below(arm) for arm in METHODS),
  _collapses(
    "simsiam_no_stop",
    SPREAD,
    0.1,
    "without the stopped gradient SimSiam's projections are all the same "
    "(a tenth of an even sphere's spread)",
  ),
  _collapses(
    "simsiam_no_predictor",
    SPREAD,
    0.1,
    "without a predictor SimSiam's projections are all the same",
  ),
  _collapses(
    "byol_no_stop",
    SPREAD,
    0.1,
    "with the online network as its own target, and as in the paper no norm "
    "after the projector, BYOL's projections are all the same",
  ),
  _collapses(
    "byol_no_predictor",
    SPREAD,
    0.1,
    "without a predictor, and as in the paper no norm after the projector, "
    "BYOL's projections are all the same",
  ),
  _collapses(
    "vicreg_no_variance",
    "test_z_std",
    0.1,
    "without its variance term VICReg's projections shrink to a tenth of the "
    "floor",
  ),
  _collapses(
    "dino_no_centring",
    "test_information",
    0.1,
    "without centring DINO's outputs tell nothing about the image",
  ),
  _collapses(
    "dino_no_sharpening",
    "test_information",
    0.1,
    "without sharpening DINO's outputs tell nothing about the image",
  ),
  _collapses(
    "swav_no_sinkhorn",
    "test_information",
    0.1,
    "without balanced codes SwAV's prototypes tell nothing about the image",
  ),
  _SLOW,
)

# The arms that these name.
ARMS = (
  "random",
  *METHODS,
  "supervised",
  "simsiam_no_stop",
  "simsiam_no_predictor",
  "byol_no_stop",
  "byol_no_predictor",
  "vicreg_no_variance",
  "dino_no_centring",
  "dino_no_sharpening",
  "swav_no_sinkhorn",
  "moco_no_momentum",
)
