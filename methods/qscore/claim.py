"""What `reproduce` judges of a representation.

The paper's abstract has six claims. The first three are about any
representation; the fourth and sixth compare an encoder before and after
fine-tuning; the fifth and sixth need masks.
"""

import dataclasses

from kd_jax.experiment import Claim


def of_representation(arm: str) -> tuple[Claim, ...]:
  """The claims about one representation.

  Args:
    arm: whose it is.

  Returns:
    Claims 1 to 3 with their controls, and 5 where there are maps and masks.
  """
  return (
    Claim(
      name="1: found in what is right",
      statement="more discriminative features stand out of a correctly "
      "classified sample than of a misclassified one",
      kind="paper",
      treatment=(arm, "own_right"),
      baseline=(arm, "own_wrong"),
    ),
    Claim(
      name="1: each belongs to a class",
      statement="a discriminative feature stands out of a larger share of its "
      "class than the other features do",
      kind="paper",
      treatment=(arm, "class_share"),
      baseline=(arm, "class_share_others"),
      published="above .8 for those of figure 1",
    ),
    Claim(
      name="2: 40 % can go",
      statement="a probe on the 60 % in the middle of the order by A loses "
      "less than 3 points",
      kind="paper",
      treatment=(arm, "kept_60_middle"),
      baseline=(arm, "full"),
      margin=-0.03,
      published="a loss of 1.2 to 2.8 points (figure 2)",
    ),
    Claim(
      name="2: more than at random",
      statement="and it keeps more than as many random features do",
      kind="paper",
      treatment=(arm, "kept_60_middle"),
      baseline=(arm, "kept_60_random"),
      published="2.5 to 4.8 points (figure 2)",
    ),
    Claim(
      name="2: at 10 %",
      statement="where 10 % are kept, the middle beats random ones by more "
      "than a point",
      kind="ours",
      treatment=(arm, "kept_10_middle"),
      baseline=(arm, "kept_10_random"),
      margin=0.01,
    ),
    Claim(
      name="3: predicts mistakes, AUROC",
      statement="the score ranks correctly classified samples above others",
      kind="paper",
      treatment=(arm, "auroc"),
      baseline=0.5,
      published=".623 to .733 (table 1)",
    ),
    Claim(
      name="3: predicts mistakes, AUPRC",
      statement="its average precision exceeds the accuracy, which is chance",
      kind="paper",
      treatment=(arm, "auprc"),
      baseline=(arm, "accuracy"),
      published="by .050 to .125 (table 1)",
    ),
    Claim(
      name="3: better than the first version",
      statement="the final score predicts better than Z / L1",
      kind="ours",
      treatment=(arm, "q_auroc"),
      baseline=(arm, "v1_auroc"),
    ),
    Claim(
      name="3: better than the length",
      statement="and better than the length of the representation",
      kind="ours",
      treatment=(arm, "q_auroc"),
      baseline=(arm, "norm_auroc"),
    ),
    Claim(
      name="3: D matters",
      statement="and better than with every feature in D",
      kind="ours",
      treatment=(arm, "q_auroc"),
      baseline=(arm, "q_all_auroc"),
    ),
    Claim(
      name="5: on the object",
      statement="heatmaps of discriminative features overlap more with core "
      "than with spurious masks",
      kind="paper",
      treatment=(arm, "miou_core"),
      baseline=(arm, "miou_spurious"),
    ),
    Claim(
      name="5: more than even heat",
      statement="and more of the heat lies on core masks than even heat would "
      "put there, which the larger mask gets by its area",
      kind="ours",
      treatment=(arm, "heat_core"),
      baseline=(arm, "area_core"),
    ),
    Claim(
      name="5: more so where it is right",
      statement="and with core masks more for correctly classified samples",
      kind="paper",
      treatment=(arm, "miou_core_right"),
      baseline=(arm, "miou_core_wrong"),
    ),
  )


def of_tuning() -> tuple[Claim, ...]:
  """Claims 4 and 6, with the controls that decide them."""
  return (
    Claim(
      name="4: higher accuracy",
      statement="with the regulariser, as printed, fine-tuning raises the "
      "probe's accuracy",
      kind="paper",
      treatment=("qscore", "probe_accuracy"),
      baseline=("base", "probe_accuracy"),
      published=".003 to .058 (table 2)",
    ),
    Claim(
      name="4: than without it",
      statement="above that of as many steps without it",
      kind="paper",
      treatment=("qscore", "probe_accuracy"),
      baseline=("continued", "probe_accuracy"),
    ),
    Claim(
      name="4: balanced",
      statement="the balanced regulariser raises it above that of as many "
      "steps without",
      kind="ours",
      treatment=("balanced", "probe_accuracy"),
      baseline=("continued", "probe_accuracy"),
    ),
    Claim(
      name="4: the lasso does not",
      statement="the lasso in its place ends below as many steps without it",
      kind="paper",
      treatment=("continued", "probe_accuracy"),
      baseline=("lasso", "probe_accuracy"),
    ),
    Claim(
      name="3: predicts less after it",
      statement="after that the score says less of what is misclassified",
      kind="paper",
      treatment=("base", "auroc"),
      baseline=("qscore", "auroc"),
      published=".056 (SimCLR, ImageNet-1K)",
    ),
    Claim(
      name="6: more on the object",
      statement="with the regulariser heatmaps overlap more with core masks "
      "than after as many steps without it",
      kind="paper",
      treatment=("qscore", "miou_core"),
      baseline=("continued", "miou_core"),
    ),
    Claim(
      name="6: where it is right",
      statement="and so they do for correctly classified samples alone",
      kind="paper",
      treatment=("qscore", "miou_core_right"),
      baseline=("continued", "miou_core_right"),
    ),
    Claim(
      name="6: where it is wrong",
      statement="and for misclassified ones alone",
      kind="paper",
      treatment=("qscore", "miou_core_wrong"),
      baseline=("continued", "miou_core_wrong"),
    ),
    Claim(
      name="6: balanced",
      statement="and with the balanced regulariser all samples' do",
      kind="ours",
      treatment=("balanced", "miou_core"),
      baseline=("continued", "miou_core"),
    ),
    Claim(
      name="lambda_1 raises scores",
      statement="a large lambda_1 alone raises the mean score over that of as "
      "many steps without it",
      kind="sanity",
      treatment=("strong", "mean_q"),
      baseline=("continued", "mean_q"),
    ),
    Claim(
      name="it concentrates",
      statement="and concentrates activity on few features",
      kind="paper",
      treatment=("strong", "concentration"),
      baseline=("continued", "concentration"),
    ),
    Claim(
      name="lambda_2 holds it",
      statement="which the penalty on columns undoes",
      kind="paper",
      treatment=("strong", "concentration"),
      baseline=("strong_held", "concentration"),
    ),
  )


ARMS = (
  "own",
  "base",
  "continued",
  "qscore",
  "balanced",
  "strong",
  "strong_held",
  "lasso",
)
CLAIMS = (
  *of_representation("base"),
  *of_tuning(),
  # Of planted codes the first three are checks of the code.
  *(
    dataclasses.replace(
      claim,
      name=f"{claim.name} (own)",
      statement=f"own representations: {claim.statement}",
      kind="sanity",
      published="",
    )
    for claim in of_representation("own")
  ),
)
