"""Measures that add up: every metric of a step is a sum and a count."""

from kd_jax.metrics.mean import Mean as Mean
from kd_jax.metrics.mean import accuracy as accuracy
from kd_jax.metrics.mean import compute as compute
from kd_jax.metrics.mean import mean as mean
from kd_jax.metrics.mean import merge as merge
