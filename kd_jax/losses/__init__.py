"""Losses: plain functions on arrays, one value per example.

Arrays first, settings by name, `where=` for what counts; nothing is meaned,
normalised or stopped without an argument that says so. `combine` makes the
number to differentiate. At least float32 inside, whatever comes in. The list
with equations and sources: `kd_jax.losses.catalog.catalog()`.
"""

from kd_jax.losses.activations import column_loss as column_loss
from kd_jax.losses.activations import lasso as lasso
from kd_jax.losses.activations import q_score_loss as q_score_loss
from kd_jax.losses.clustering import sinkhorn_codes as sinkhorn_codes
from kd_jax.losses.clustering import swapped_prediction as swapped_prediction
from kd_jax.losses.compose import combine as combine
from kd_jax.losses.contrastive import info_nce_batch as info_nce_batch
from kd_jax.losses.contrastive import info_nce_queue as info_nce_queue
from kd_jax.losses.contrastive import nt_xent as nt_xent
from kd_jax.losses.distillation import attention_transfer as attention_transfer
from kd_jax.losses.distillation import (
  disagreement_weights as disagreement_weights,
)
from kd_jax.losses.distillation import distillation_kl as distillation_kl
from kd_jax.losses.distillation import feature_regression as feature_regression
from kd_jax.losses.ensembles import brier as brier
from kd_jax.losses.ensembles import (
  ensemble_cross_entropy as ensemble_cross_entropy,
)
from kd_jax.losses.ensembles import gibbs_cross_entropy as gibbs_cross_entropy
from kd_jax.losses.label_noise import noisy_nll as noisy_nll
from kd_jax.losses.link_prediction import l3_penalty as l3_penalty
from kd_jax.losses.link_prediction import self_adversarial as self_adversarial
from kd_jax.losses.redundancy import barlow_twins as barlow_twins
from kd_jax.losses.redundancy import covariance_penalty as covariance_penalty
from kd_jax.losses.redundancy import invariance as invariance
from kd_jax.losses.redundancy import variance_hinge as variance_hinge
from kd_jax.losses.relations import (
  attention_mean_square as attention_mean_square,
)
from kd_jax.losses.relations import relational_angle as relational_angle
from kd_jax.losses.relations import relational_distance as relational_distance
from kd_jax.losses.relations import (
  similarity_preserving as similarity_preserving,
)
from kd_jax.losses.relations import solution_flow as solution_flow
from kd_jax.losses.self_distillation import byol as byol
from kd_jax.losses.self_distillation import dino as dino
from kd_jax.losses.self_distillation import negative_cosine as negative_cosine
from kd_jax.losses.self_distillation import simsiam as simsiam
