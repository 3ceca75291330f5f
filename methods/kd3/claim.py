"""What `reproduce` judges: the abstract's sentences, and what we saw ourselves.

Accuracies are of the last epoch on test images. The published numbers are those
of CIFAR-10 with ResNet-34 and ResNet-18; they and the scale of `small` have
nothing in common but the direction.
"""

from kd_jax.experiment import Claim

ACCURACY = "test_accuracy"
_ABSTRACT = "the student trained by KD^3 outperforms "

CLAIMS = (
  Claim(
    name="beats all web images",
    statement=_ABSTRACT + "distillation on every web image",
    kind="paper",
    treatment=("kd3", ACCURACY),
    baseline=("kd_all", ACCURACY),
  ),
  Claim(
    name="beats random web images",
    statement=_ABSTRACT + "distillation on web images chosen at random",
    kind="paper",
    treatment=("kd3", ACCURACY),
    baseline=("kd_random", ACCURACY),
    published="95.21 against 91.25 (CIFAR-10)",
  ),
  Claim(
    name="beats DFND",
    statement=_ABSTRACT + "the nearest rival, DFND",
    kind="paper",
    treatment=("kd3", ACCURACY),
    baseline=("dfnd", ACCURACY),
    published="95.21 against 94.02 (CIFAR-10)",
  ),
  Claim(
    name="more than its selection",
    statement="sharing the classifier and contrasting mixed images help beyond "
    "the selection: KD^3 outperforms distillation on images selected alike",
    kind="paper",
    treatment=("kd3", ACCURACY),
    baseline=("kd_selected", ACCURACY),
    published="1.79 points by the classifier, 0.73 by the contrast (CIFAR-10)",
  ),
  Claim(
    name="selection helps accuracy",
    statement="dynamic selection helps: KD^3 outperforms itself on every image",
    kind="paper",
    treatment=("kd3", ACCURACY),
    baseline=("no_selection", ACCURACY),
    published="4.99 points (CIFAR-10)",
  ),
  Claim(
    name="finds useful images, at first",
    statement="the first selection holds relevant images at more than twice "
    "the web's share",
    kind="ours",
    treatment=("kd3", "selection_first_share"),
    baseline=("web", "twice_share_relevant"),
  ),
  Claim(
    name="finds useful images, on the whole",
    statement="over all epochs the selections hold a larger share of relevant "
    "images than the web",
    kind="paper",
    treatment=("kd3", "selection_mean_share"),
    baseline=("web", "share_relevant"),
  ),
  Claim(
    name="accurate under changed style",
    statement="MixDistribution makes the student more accurate on test images "
    "in other images' style than without it",
    kind="paper",
    treatment=("kd3", "test_styled_accuracy"),
    baseline=("no_mix", "test_styled_accuracy"),
    published="0.73 points, on test images as they are (CIFAR-10)",
  ),
  Claim(
    name="features keep their place under changed style",
    statement="MixDistribution makes the representation invariant: a change of "
    "style moves the features less",
    kind="paper",
    treatment=("kd3", "test_styled_change"),
    baseline=("no_mix", "test_styled_change"),
    sign=-1,
  ),
  Claim(
    name="features keep their place under the web's shift",
    statement="MixDistribution makes the representation invariant: the shift "
    "between the original images and the web moves the features less",
    kind="paper",
    treatment=("kd3", "test_shifted_change"),
    baseline=("no_mix", "test_shifted_change"),
    sign=-1,
  ),
  Claim(
    name="close to the teacher",
    statement="the student comes within two points of the teacher",
    kind="ours",
    treatment=("kd3", ACCURACY),
    baseline=("teacher", ACCURACY),
    margin=-0.02,
  ),
)

# The arms that these name.
ARMS = (
  "kd_all",
  "kd_random",
  "kd_selected",
  "dfnd",
  "no_selection",
  "no_mix",
  "kd3",
  "kd_original",
)
