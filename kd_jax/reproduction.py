"""`kd-jax reproduce`: baselines and method side by side, and the verdict."""

import dataclasses
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from kd_jax import accel, api, report, verdict
from kd_jax.errors import UsageError
from kd_jax.experiment import Config, Method
from kd_jax.training.progress import Reporter, duration
from kd_jax.training.run import write_json

FIRST_SEED = 1000  # Seeds below it are for tuning.


@dataclasses.dataclass(frozen=True)
class Reproduction:
  """What `reproduce` found.

  Attributes:
    workdir: its folder: a run per seed, `claim.json`, `claims.png`.
    claims: the entries of `claim.json`.
    text: the table.
  """

  workdir: pathlib.Path
  claims: Sequence[Mapping[str, Any]]
  text: str


def reproduce(
  method: str | Method,
  preset: str | None = None,
  *,
  seeds: int = 5,
  first_seed: int = FIRST_SEED,
  workdir: str | pathlib.Path | None = None,
  config: Config | None = None,
  arms: Sequence[str] | None = None,
  quiet: bool = False,
  **values: Any,
) -> Reproduction:
  """Runs every arm on fresh seeds and judges the method's claims.

  A finished arm of a seed is never run again: the same command goes on.

  Args:
    method: its name.
    preset: one of its presets; its default if None.
    seeds: how many.
    first_seed: the first of them; those that were seen before are not fresh.
    workdir: the folder; "runs/METHOD-PRESET-reproduce" by default.
    config: a whole configuration instead of a preset.
    arms: which arms; all that the claims need if None.
    quiet: says nothing.
    **values: fields of the configuration by name.

  Returns:
    The verdicts.

  Raises:
    UsageError: for wrong arguments, or a method without claims.
  """
  method, preset, config = api.configure(method, preset, config, **values)
  if not method.claims:
    raise UsageError(f"{method.name} states no claims")
  if seeds < 2:
    raise UsageError(f"--seeds is {seeds}; an interval needs at least 2")
  if arms is None:
    arms = _arms(method, preset)
  config = dataclasses.replace(config, arms=tuple(arms), seed=first_seed)
  folder = pathlib.Path(workdir or f"runs/{method.name}-{preset}-reproduce")
  accel.start()
  say = Reporter(quiet=quiet or not accel.is_first()).say
  say(_eta(method, preset, seeds, config.arms))
  begin = time.monotonic()
  runs = _runs(method, preset, config, seeds, folder, say, quiet)
  found = collect(runs)
  claims = [
    verdict.decide(claim, found, _tried(method, preset))
    for claim in method.claims
    if not _missing(claim, found)
  ]
  for claim in method.claims:
    if missing := _missing(claim, found):
      say(f"not judged: {claim.name} (no {', '.join(missing)} in these runs)")
  minutes = sum(r.summary["wall_s"] for r in runs) / 60
  result = {
    "method": method.name,
    "preset": preset,
    "seeds": [config.seed + i for i in range(seeds)],
    "minutes": minutes,
    "device": jax.devices()[0].device_kind,
    "claims": claims,
  }
  text = table(method, preset, seeds, claims, arms_table(method, found))

  def write():
    write_json(folder / "claim.json", result)
    report.save({"claims": plot(claims)}, folder)
    (folder / "claims.txt").write_text(text)

  accel.from_first(write)
  say(f"{duration(time.monotonic() - begin)}; everything is in {folder}")
  return Reproduction(folder, claims, text)


def _arms(method: Method, preset: str) -> tuple[str, ...]:
  """The arms that the claims need at a preset."""
  arms = method.reproduce_arms
  if isinstance(arms, Mapping):
    arms = arms.get(preset, arms[method.default])
  return arms or tuple(method.arms)


def _tried(method: Method, preset: str) -> dict[str, int]:
  """Settings tried by arm."""
  tried = dict(method.settings_tried)
  if any(isinstance(value, Mapping) for value in tried.values()):
    return dict(tried.get(preset, {}))
  return tried


def _missing(claim, found) -> list[str]:
  """The numbers that a claim speaks of and no arm gave."""
  sides = [claim.treatment]
  if isinstance(claim.baseline, tuple):
    sides.append(claim.baseline)
  return [
    f"{arm}.{metric}" for arm, metric in sides if (arm, metric) not in found
  ]


def _eta(method, preset, seeds, arms) -> str:
  minutes = method.minutes.get(f"{preset} reproduce") or method.minutes.get(
    preset
  )
  runs = 1 if method.seeds_in_run else seeds
  per = (
    f", about {duration(60 * minutes * runs)} on two CPU cores"
    if (isinstance(minutes, int | float))
    else ""
  )
  return (
    f"{method.name} {preset}: {seeds} seeds x {len(arms)} arms "
    f"({', '.join(arms)}){per}"
  )


def _runs(method, preset, config, seeds, folder, say, quiet) -> list[api.Run]:
  programs: dict[Any, Any] = {}
  if method.seeds_in_run:
    config = dataclasses.replace(config, seeds=seeds)
    return [
      api.train(
        method, preset, config=config, workdir=folder / "all", quiet=quiet
      )
    ]
  runs = []
  begin = time.monotonic()
  for i in range(seeds):
    one = dataclasses.replace(config, seed=config.seed + i)
    runs.append(
      api.train(
        method,
        preset,
        config=one,
        workdir=folder / f"seed-{one.seed}",
        quiet=quiet,
        programs=programs,
      )
    )
    left = (time.monotonic() - begin) / (i + 1) * (seeds - i - 1)
    say(f"seed {one.seed} done, {i + 1}/{seeds}; {duration(left)} left")
  return runs


def collect(runs: Sequence[api.Run]) -> dict[tuple[str, str], list[float]]:
  """One number per seed for every (arm, metric).

  Args:
    runs: one per seed, or one that holds all seeds.

  Returns:
    The numbers, in the order of the seeds.
  """
  if "per_seed" in runs[0].summary:
    per_seed = runs[0].summary["per_seed"]
  else:
    per_seed = {k: [r.metrics[k] for r in runs] for k in runs[0].metrics}
  return {tuple(k.rsplit(".", 1)): v for k, v in per_seed.items()}


def arms_table(method: Method, found: Mapping[tuple[str, str], Any]) -> str:
  """Mean and spread over seeds of the headline metrics, an arm a row.

  Args:
    method: the method.
    found: numbers by (arm, metric).

  Returns:
    The text.
  """

  def cell(arm, metric):
    values = found.get((arm, metric))
    if values is None:
      return "-"
    arm_values = verdict.arm_entry(arm, metric, found, {})
    return f"{arm_values['mean']:.4f} ± {arm_values['sd'] or 0:.4f}"

  names = list(dict.fromkeys(arm for arm, metric in found))
  # Not those that none of these arms has a number for.
  metrics = [m for m in method.headline if any((n, m) in found for n in names)]
  rows = [
    [name, *[cell(name, m) for m in metrics]]
    for name in names
    if any((name, m) in found for m in metrics)
  ]
  header = ["arm", *[method.headline[m] for m in metrics]]
  return report.render("mean ± sd over seeds", header, rows)


def table(
  method: Method, preset: str, seeds: int, claims: Sequence[Any], arms: str
) -> str:
  """The claims with their differences and verdicts.

  Args:
    method: the method.
    preset: the preset.
    seeds: how many.
    claims: the entries of `claim.json`.
    arms: the table of the arms, put above it.

  Returns:
    The text.
  """
  rows = []
  for claim in claims:
    low, high = (report.number(end) for end in claim["ci95"])
    rows.append(
      [
        f"[{claim['kind']}] {claim['statement']}",
        report.number(claim["diff"]),
        f"{low} .. {high}",
        report.number(claim["margin"]),
        claim["published"] or "-",
        claim["verdict"],
      ]
    )
  header = ["claim", "difference", "95 %", "margin", "published", "verdict"]
  title = f"{method.name} {preset}, {seeds} seeds: {method.title}"
  return arms + "\n" + report.render(title, header, rows)


def plot(claims: Sequence[Mapping[str, Any]]) -> Any:
  """Differences with their intervals against the margins.

  Args:
    claims: the entries of `claim.json`.

  Returns:
    The figure.
  """
  colours = {"holds": "tab:green", "fails": "tab:red", "undecided": "tab:gray"}
  figure = report.new_figure(8, 1 + 0.5 * len(claims))
  axes = figure.subplots()
  for place, claim in enumerate(claims):
    colour = colours[claim["verdict"]]
    axes.plot(claim["ci95"], [place, place], color=colour, linewidth=3)
    axes.plot(claim["diff"], place, "o", color=colour)
    axes.plot(claim["margin"], place, "|", color="black", markersize=14)
  axes.set_yticks(range(len(claims)), [c["name"] for c in claims])
  axes.invert_yaxis()
  axes.set_xlabel("paired difference, 95 % interval; | is the margin")
  return figure
