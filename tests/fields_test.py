import dataclasses
import math

import pytest

from kd_jax import fields
from kd_jax.errors import UsageError
from kd_jax.experiment import Config


@dataclasses.dataclass(frozen=True)
class Data:
  """Data.

  Attributes:
    web: where the pool comes from,
      over two lines.
    share: how much of it.
  """

  web: str = "digits"
  share: float = 0.5


@dataclasses.dataclass(frozen=True)
class Mine(Config):
  """Mine.

  Attributes:
    data: the data.
    nesterov: whether it looks ahead.
    widths: of the layers.
    learning_rate: of the optimizer; 0.1 in the paper.
  """

  data: Data = dataclasses.field(default_factory=Data)
  nesterov: bool = True
  widths: tuple[int, ...] = (4, 8)
  learning_rate: float = 0.1


def test_walk_and_document():
  names = dict(fields.walk(Mine()))
  assert list(names)[:5] == [f.name for f in dataclasses.fields(Config)]
  assert names["data.web"] == "digits"
  assert names["widths"] == (4, 8)
  text = {name: fields.document(Mine(), name) for name in names}
  assert all(text.values())
  assert text["data.web"] == "where the pool comes from, over two lines."
  assert text["learning_rate"] == "of the optimizer; 0.1 in the paper."
  assert "between two rows" in text["log_every"]
  assert fields.document(Mine(), "data") == "the data."


def test_parse():
  words = ["--data.web", "a b", "--nesterov", "False", "--widths", "1", "2"]
  words += ["3", "--learning-rate=1e-3", "--seed", "5"]
  got = fields.parse(Mine(log_every=9), words)
  assert got == Mine(
    seed=5,
    log_every=9,
    data=Data(web="a b"),
    nesterov=False,
    widths=(1, 2, 3),
    learning_rate=1e-3,
  )
  assert fields.parse(Mine(), []) == Mine()
  assert fields.parse(Mine(), ["--learning_rate", "-2"]).learning_rate == -2


@pytest.mark.parametrize(
  ("words", "says"),
  [
    (["--data.wbe", "x"], "no field --data.wbe; did you mean 'data.web'?"),
    (["--data", "x"], "no field --data;"),
    (["--nesterov", "1.5"], "--nesterov cannot be '1.5'; it is True or False"),
    (["--widths", "1", "b"], "--widths cannot be '1 b'; it is a list"),
    (["--seed", "1", "--seed", "b"], "--seed cannot be 'b'; it is a whole"),
    (["--learning-rate", "b"], "it is a number, for example 0.1"),
    (["x"], "'x' is not expected here"),
    (["--seed", "3", "--log-every", "0"], "log_every is 0; it must be at"),
  ],
)
def test_parse_complains(words, says, capsys):
  with pytest.raises(UsageError) as error:
    fields.parse(Mine(), words)
  assert says in str(error.value)
  assert "\n" not in str(error.value)
  assert capsys.readouterr() == ("", "")


def test_override():
  values = {"data.share": 1, "widths": [1], "nesterov": False}
  got = fields.override(Mine(), values)
  assert got == Mine(data=Data(share=1), widths=(1,), nesterov=False)


@pytest.mark.parametrize(
  ("values", "says"),
  [
    ({"data.wbe": "x"}, "no field 'data.wbe'; did you mean 'data.web'?"),
    ({"seed": 1.5}, "seed cannot be 1.5; it is a whole number"),
    ({"seed": True}, "seed cannot be True"),
    ({"learning_rate": "1"}, "learning_rate cannot be '1'; it is a number"),
    ({"nesterov": 1}, "nesterov cannot be 1; it is True or False"),
    ({"widths": "12"}, "widths cannot be '12'; it is a list of values"),
    ({"widths": (4, "b")}, "each of widths cannot be 'b'; it is a whole"),
    ({"widths": [4.5]}, "each of widths cannot be 4.5"),
    ({"data.web": 3}, "data.web cannot be 3; it is a word"),
    ({"save_every": -3}, "save_every is -3; it must be at least 0"),
  ],
)
def test_override_complains(values, says):
  with pytest.raises(UsageError) as error:
    fields.override(Mine(), values)
  assert says in str(error.value)


@pytest.mark.parametrize(
  "bad",
  [
    {"seed": -1},
    {"seed": 2**32},
    {"log_every": 0},
    {"eval_every": -1},
    {"save_every": -1},
  ],
)
def test_cadences_and_seeds_have_ranges(bad):
  with pytest.raises(UsageError, match=f"{next(iter(bad))} is"):
    Config(**bad)
  Config(seed=2**32 - 1, log_every=1, eval_every=0, save_every=0)


@pytest.mark.parametrize(
  ("low", "high", "value", "says"),
  [
    (fields.ABOVE_0, math.inf, 0.0, "must be above 0"),
    (fields.ABOVE_0, 1.0, 0.0, "must be above 0, at most 1.0"),
    (0.0, fields.BELOW_1, 1.0, "must be at least 0.0 and below 1"),
    (2, fields.MOST, 1, "must be at least 2"),
    (2, fields.MOST, 2**31, "must be at most 2,147,483,647"),
    (2, 2**20, 1, "must be 2 to 1,048,576"),
    (0.0, math.inf, math.nan, "must be finite"),
  ],
)
def test_a_range_in_words(low, high, value, says):
  config = dataclasses.replace(Mine(), learning_rate=value)
  with pytest.raises(UsageError) as error:
    fields.check(config, {}, [("learning_rate", low, high)])
  assert str(error.value).endswith(says)
  within = dataclasses.replace(Mine(), learning_rate=low)
  fields.check(within, {}, [("learning_rate", low, high)])


@pytest.mark.parametrize(
  ("known", "said"),
  [
    (["digits", "mnist"], r"is 'digit'; it is one of \['digits', 'mnist'\]"),
    (["digits", *"abcdefgh"], "is 'digit'; did you mean 'digits'"),
    ([*"abcdefghi"], "is 'digit'; there is: a, b"),
  ],
)
def test_a_list_of_choices_is_told_where_it_is_short(known, said):
  with pytest.raises(UsageError, match=f"data.web {said}"):
    fields.check(Mine(data=Data("digit")), {"data.web": known}, [])


def test_choices_may_be_given_one_by_one():
  with pytest.raises(UsageError, match=r"it is one of \['web', 'disk'\]"):
    fields.check(Mine(), {"data.web": (n for n in ("web", "disk"))}, [])
