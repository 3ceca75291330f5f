"""What is raised when data cannot be used."""


class DataError(ValueError):
  """Bad or absent data, told in one clear sentence.

  The message says what is wrong, where (file, column, row) and what was
  expected, so that it can be shown to a user as it is.
  """
