"""What is wrong with data, in a sentence for the person who brought them."""

from kd_jax.errors import UsageError


class DataError(UsageError):
  """Data that cannot be used: says what, where, and what was expected."""
