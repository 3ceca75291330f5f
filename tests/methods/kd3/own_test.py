"""A teacher and images of one's own, and the presets of full size."""

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors_files import packed

import kd_jax
from kd_jax import cli, fields
from kd_jax.errors import UsageError
from kd_jax.methods.kd3 import METHOD, arms
from kd_jax.methods.kd3 import data as tables
from kd_jax.methods.kd3.validate import check

SMALL = {
  "student.name": "resnet_tiny",
  "loss.embedding": 4,
  "teacher_steps": 2,
  "epochs": 2,
  "epoch_steps": 2,
  "batch_size": 8,
  "score_batch_size": 8,
  "select.count": 9,
  "data.val_images": 8,
}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
  """A ResNet's file and a folder of colour images of many sizes."""
  folder = tmp_path_factory.mktemp("own")
  rng = np.random.default_rng(0)
  weights = {}

  def conv(name, out, into, size):
    weights[f"{name}.weight"] = rng.normal(0, 0.3, (out, into, size, size))

  def norm(name, c):
    for k in ("weight", "running_var"):
      weights[f"{name}.{k}"] = np.ones(c)
    for k in ("bias", "running_mean"):
      weights[f"{name}.{k}"] = rng.normal(0, 0.1, c)

  conv("conv1", 4, 3, 3), norm("bn1", 4)
  for i, (into, out) in enumerate(((4, 4), (4, 8)), 1):
    at = f"layer{i}.0"
    conv(f"{at}.conv1", out, into, 3), norm(f"{at}.bn1", out)
    conv(f"{at}.conv2", out, out, 3), norm(f"{at}.bn2", out)
    if into != out:
      conv(f"{at}.downsample.0", out, into, 1)
      norm(f"{at}.downsample.1", out)
  weights["fc.weight"] = rng.normal(0, 1, (3, 8))
  weights["fc.bias"] = rng.normal(0, 1, 3)
  tensors = {k: ("F32", v.astype(np.float32)) for k, v in weights.items()}
  (folder / "teacher.safetensors").write_bytes(packed(tensors))
  (folder / "web" / "deep").mkdir(parents=True)
  for i in range(40):
    image = rng.integers(0, 256, (10 + i % 3, 9 + i % 4, 3)).astype(np.uint8)
    Image.fromarray(image).save(folder / "web" / "deep" / f"{i}.png")
  label = np.arange(30) % 3
  image = rng.integers(0, 256, (30, 8, 8, 3)).astype(np.uint8)
  np.savez(folder / "task.npz", image=image, label=label)
  np.savez(folder / "web.npz", image=image)
  return folder


def test_a_teacher_s_file_and_a_folder_are_enough(own, tmp_path, capsys):
  words = ["train", "kd3", "own", "--quiet", "--data.image-size", "8"]
  words += ["--teacher", str(own / "teacher.safetensors")]
  words += ["--data.web", str(own / "web"), "--workdir", str(tmp_path / "run")]
  for name, value in SMALL.items():
    words += ["--" + name.replace("_", "-"), str(value)]
  with pytest.raises(SystemExit) as done:
    cli.main([*words, "--arms", "kd3"])
  assert not done.value.code
  assert "kd3 own" in capsys.readouterr().out
  run = kd_jax.open_run(tmp_path / "run")
  assert 0 <= run.metrics["kd3.test_agreement"] <= 1
  assert "kd3.test_accuracy" not in run.metrics
  kernel = run.products["teacher"]["params"]["head"]["kernel"]
  assert kernel.shape == (8, 3)
  assert len(run.products["web"]["index"]) == 36  # Four are held out.
  apply, variables = kd_jax.load(tmp_path / "run")
  assert apply(variables, np.zeros((2, 8, 8, 3), np.uint8)).shape == (2, 3)


def test_with_a_task_of_one_s_own_accuracy_is_measured(own, tmp_path):
  given = {
    "teacher.file": str(own / "teacher.safetensors"),
    "data.original": str(own / "task.npz"),
    "data.web": str(own / "web.npz"),
  }
  files = METHOD.files(fields.override(arms.PRESETS["own"], given))
  assert files == given
  run = kd_jax.train(
    "kd3",
    "own",
    workdir=tmp_path,
    quiet=True,
    **SMALL,
    **given,
    arms=("kd_original",),
  )
  assert 0 <= run.metrics["kd_original.test_accuracy"] <= 1


@pytest.mark.parametrize(
  ("changes", "match"),
  [
    ({}, "give --teacher FILE"),
    ({"teacher.file": "T"}, "give --data.web FOLDER"),
    (
      {"teacher.file": "T", "data.web": "W", "arms": ("kd_original",)},
      "kd_original needs --data.original",
    ),
    ({"teacher.file": "T", "data.web": "FEW"}, "expected 20 or more"),
    ({"teacher.file": "T", "data.web": "GREY"}, "data.mean has 3 numbers"),
    ({"teacher.file": "absent", "data.web": "W"}, "cannot read absent"),
  ],
)
def test_what_is_missing_is_said(own, tmp_path, changes, match):
  np.savez(tmp_path / "few.npz", image=np.zeros((9, 8, 8, 3), np.uint8))
  np.savez(tmp_path / "grey.npz", image=np.zeros((40, 8, 8, 1), np.uint8))
  places = {
    "T": own / "teacher.safetensors",
    "W": own / "web.npz",
    "FEW": tmp_path / "few.npz",
    "GREY": tmp_path / "grey.npz",
  }
  changes = {
    k: str(places.get(v, v)) if isinstance(v, str) else v
    for k, v in changes.items()
  }
  config = fields.override(arms.PRESETS["own"], changes)
  with pytest.raises(UsageError, match=match):
    METHOD.phases(config, {}, lambda line: None)


@pytest.mark.parametrize("name", sorted(arms.PRESETS))
def test_presets_fit_together(name):
  config = arms.PRESETS[name]
  check(config)
  for arm in config.arms:
    check(arms.of_arm(config, arm))
  if name.startswith("paper"):
    assert (config.teacher.name, config.student.name) == (
      "resnet34",
      "resnet18",
    )
    assert (config.epochs, config.batch_size) == (240, 1024)
    assert (config.teacher_batch_size, config.teacher_optim.learning_rate) == (
      64,
      0.05,
    )
    assert (config.loss.mix_weight, config.loss.temperature) == (0.001, 0.3)
    assert config.select.augment


def test_medium_at_a_tiny_size(own, tmp_path):
  """Everything of the preset but its images, its networks and its length."""
  run = kd_jax.train(
    "kd3",
    "medium",
    workdir=tmp_path,
    quiet=True,
    **SMALL,
    **{
      "teacher.name": "resnet_tiny",
      "data.original": str(own / "task.npz"),
      "data.web": str(own / "web.npz"),
      "arms": ("dafl", "kd3"),
    },
  )
  for arm in ("teacher", "dafl", "kd3"):
    assert 0 <= run.metrics[f"{arm}.test_accuracy"] <= 1


def test_a_named_web_is_resized(data_of_digits, tmp_path):
  config = fields.override(
    arms.PRESETS["tiny"],
    {"data.original": str(data_of_digits), "data.web": "digits"},
  )
  found = tables.load(config.data, 0, {}, lambda line: None)
  assert found.web["image"].shape == (1797, 12, 12, 1)


@pytest.fixture
def data_of_digits(tmp_path):
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (20, 12, 12, 1)).astype(np.uint8)
  np.savez(tmp_path / "twelve.npz", image=image, label=np.arange(20) % 2)
  return tmp_path / "twelve.npz"


def test_a_streamed_web_gives_the_same_run(own, tmp_path):
  """Selection and training over images that stay on the host."""
  given = {
    "data.original": str(own / "task.npz"),
    "data.web": str(own / "web.npz"),
    "data.val_images": 8,
    "teacher.widths": (4,),
    "teacher.strides": (4,),
    "student.widths": (4,),
    "student.strides": (4,),
  }
  small = {k: v for k, v in SMALL.items() if k[:7] != "student"} | given
  runs = [
    kd_jax.train(
      "kd3",
      "tiny",
      workdir=tmp_path / how,
      quiet=True,
      arms=("kd3",),
      **small,
      **{"data.streamed": how},
    )
    for how in ("never", "always")
  ]
  products = [run.products["kd3.student"] for run in runs]
  # The same batches by two programs: a last place may differ.
  for a, b in zip(*map(jax.tree.leaves, products), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
  assert runs[0].metrics == pytest.approx(runs[1].metrics, rel=1e-4)
  with pytest.raises(UsageError, match="the embedded web is not streamed"):
    kd_jax.train(
      "kd3", "tiny", workdir=tmp_path / "e", **{"data.streamed": "always"}
    )
