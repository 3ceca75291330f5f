"""Measures: sums and counts; what ensembles and features are judged by."""

from kd_jax.metrics.activations import active_counts as active_counts
from kd_jax.metrics.activations import discriminative as discriminative
from kd_jax.metrics.activations import highly_active as highly_active
from kd_jax.metrics.activations import q_score as q_score
from kd_jax.metrics.activations import unit_rows as unit_rows
from kd_jax.metrics.calibration import Bins as Bins
from kd_jax.metrics.calibration import (
  adaptive_calibration_error as adaptive_calibration_error,
)
from kd_jax.metrics.calibration import (
  brier_decomposition as brier_decomposition,
)
from kd_jax.metrics.calibration import calibration_bins as calibration_bins
from kd_jax.metrics.calibration import ensemble_brier as ensemble_brier
from kd_jax.metrics.calibration import (
  expected_calibration_error as expected_calibration_error,
)
from kd_jax.metrics.diversity import cosine_similarity as cosine_similarity
from kd_jax.metrics.diversity import disagreement as disagreement
from kd_jax.metrics.diversity import pairwise_kl as pairwise_kl
from kd_jax.metrics.mean import Mean as Mean
from kd_jax.metrics.mean import accuracy as accuracy
from kd_jax.metrics.mean import compute as compute
from kd_jax.metrics.mean import mean as mean
from kd_jax.metrics.mean import merge as merge
from kd_jax.metrics.probe import PENALTIES as PENALTIES
from kd_jax.metrics.probe import Probe as Probe
from kd_jax.metrics.probe import fit_probe as fit_probe
from kd_jax.metrics.ranking import average_precision as average_precision
from kd_jax.metrics.ranking import roc_auc as roc_auc
from kd_jax.metrics.representation import deviation as deviation
from kd_jax.metrics.representation import effective_rank as effective_rank
from kd_jax.metrics.representation import information as information
from kd_jax.metrics.representation import knn_scores as knn_scores
from kd_jax.metrics.representation import spread as spread
from kd_jax.metrics.uncertainty import auroc as auroc
from kd_jax.metrics.uncertainty import fpr_at_tpr as fpr_at_tpr
from kd_jax.metrics.uncertainty import risk_coverage as risk_coverage
