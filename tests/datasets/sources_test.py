"""Users' own data, and each sentence about bad data."""

import numpy as np
import pytest
from PIL import Image

from kd_jax.datasets import images, sources
from kd_jax.datasets.errors import DataError

_RNG = np.random.default_rng(0)
_IMAGE = _RNG.integers(0, 256, (20, 4, 4, 3), np.uint8)
_LABEL = np.arange(20) % 2
_GOOD = {"image": _IMAGE, "label": _LABEL}


def _load(spec, split="all", **kwargs):
  return sources.load(spec, split, say=lambda line: None, **kwargs)


def _folder(root, classes=("cat", "dog"), each=6, mode="RGB", size=(5, 4)):
  for k, name in enumerate(classes):
    (root / name).mkdir(parents=True, exist_ok=True)
    for i in range(each):
      color = (10 * i, 100 * k, 7) if mode == "RGB" else 10 * i + 100 * k
      Image.new(mode, size, color).save(root / name / f"{i}.png")
  return root


def test_dict_and_its_fixed_split():
  whole = _load(_GOOD)
  assert whole["image"] is _IMAGE
  assert whole["label"].dtype == np.int32
  test = _load(_GOOD, "test")
  chosen = [8, 9, 18, 19]
  np.testing.assert_array_equal(test["image"], _IMAGE[chosen])
  np.testing.assert_array_equal(test["label"], _LABEL[chosen])
  train = _load(_GOOD, "train")
  np.testing.assert_array_equal(
    train["image"], np.delete(_IMAGE, chosen, axis=0)
  )


def test_dict_of_splits_and_floats():
  grey = _IMAGE[..., 0] / 255.0
  spec = {"train": _GOOD, "test": {"image": grey, "label": _LABEL}}
  test = _load(spec, "test")
  np.testing.assert_array_equal(test["image"], _IMAGE[..., :1])
  np.testing.assert_array_equal(_load(spec, "train")["image"], _IMAGE)
  with pytest.raises(DataError, match="no split 'val'"):
    _load(spec, "val")


def test_npz(tmp_path):
  path = tmp_path / "my.npz"
  np.savez(path, image=_IMAGE, label=_LABEL)
  np.testing.assert_array_equal(_load(path)["image"], _IMAGE)
  np.savez(path, train_image=_IMAGE, train_label=_LABEL, test_image=_IMAGE[:4])
  np.testing.assert_array_equal(_load(str(path), "train")["label"], _LABEL)
  web = _load(path, "test", labelled=False)
  assert list(web) == ["image"]
  assert len(web["image"]) == 4
  with pytest.raises(DataError, match="split test has no 'label'"):
    _load(path, "test")


def test_unlabelled_is_not_split():
  assert len(_load({"image": _IMAGE}, "train", labelled=False)["image"]) == 20


def test_folder(tmp_path):
  root = _folder(tmp_path / "pets")
  got = _load(root)
  assert got["image"].shape == (12, 4, 5, 3)
  np.testing.assert_array_equal(got["label"], [0] * 6 + [1] * 6)
  np.testing.assert_array_equal(got["image"][8, 0, 0], [20, 100, 7])
  assert len(_load(root, "test")["label"]) == 2
  assert _load(root, image_size=3)["image"].shape == (12, 3, 3, 3)


def test_folder_of_grey_images(tmp_path):
  got = _load(_folder(tmp_path, mode="L"))
  assert got["image"].shape == (12, 4, 5, 1)
  assert got["image"][7, 0, 0, 0] == 110


def test_folder_with_splits(tmp_path):
  _folder(tmp_path / "train", ("ant", "cat", "dog"))
  _folder(tmp_path / "test", ("cat", "dog"), each=2)
  np.testing.assert_array_equal(_load(tmp_path, "test")["label"], [1, 1, 2, 2])
  assert len(_load(tmp_path, "train")["label"]) == 18
  assert len(_load(tmp_path, "all")["label"]) == 22
  with pytest.raises(DataError, match=r"no split 'val'; it has \['test', 'tr"):
    _load(tmp_path, "val")


def test_folder_without_labels_at_any_depth(tmp_path):
  _folder(tmp_path / "a" / "b")
  assert len(_load(tmp_path, labelled=False)["image"]) == 12


def test_folder_of_another_size(tmp_path):
  _folder(tmp_path)
  Image.new("RGB", (9, 9)).save(tmp_path / "dog" / "3.png")
  with pytest.raises(DataError, match=r"dog.3.png is 9x9, .*0.png is 4x5"):
    _load(tmp_path)


def test_folder_with_a_truncated_image(tmp_path):
  _folder(tmp_path)
  path = tmp_path / "dog" / "2.jpg"
  Image.fromarray(_RNG.integers(0, 256, (64, 64, 3), np.uint8)).save(path)
  path.write_bytes(path.read_bytes()[:500])
  with pytest.raises(DataError, match=r"cannot decode the image .*2.jpg"):
    _load(tmp_path, image_size=4)


def test_folder_without_images(tmp_path):
  (tmp_path / "cat").mkdir()
  with pytest.raises(DataError, match=r"has no images .* in class folders"):
    _load(tmp_path)
  with pytest.raises(DataError, match="there is no folder"):
    _load(tmp_path / "none")


def test_one_class_folder(tmp_path):
  with pytest.raises(DataError, match="one class only"):
    _load(_folder(tmp_path, ("cat",)))


_NAN = np.full((20, 4, 4), 0.5)
_NAN[7, 1, 2] = np.nan


@pytest.mark.parametrize(
  ("change", "match"),
  [
    ({"label": None}, r"no 'label'; its keys are \['image'\]"),
    ({"image": None}, r"no 'image'; its keys are \['label'\]"),
    ({"image": _IMAGE[:, 0, 0]}, r"\(20, 3\), expected \(n, h, w\)"),
    ({"image": _NAN}, "image 7 of the dict has NaN"),
    ({"image": np.full((20, 4, 4), 1.5)}, r"image 0 .* outside 0 to 1 \(1.5\)"),
    ({"image": _IMAGE.astype(int)}, "are int64, expected uint8"),
    ({"label": _LABEL - (np.arange(20) == 4)}, "label 4 .* is -1"),
    ({"label": _LABEL + 5 * (np.arange(20) == 6)}, "label 6 .* is 5.* 0 to 1"),
    ({"label": _LABEL / 1.0}, "float64 .* expected integers"),
    ({"label": _LABEL[:, None]}, r"\(20, 1\), expected integers"),
    ({"label": _LABEL[:19]}, "20 images but 19 labels"),
    ({"image": _IMAGE[:0], "label": _LABEL[:0]}, "is empty"),
    ({"label": _LABEL * 0}, "one class only"),
  ],
)
def test_bad_arrays(change, match):
  spec = {k: v for k, v in (_GOOD | change).items() if v is not None}
  with pytest.raises(DataError, match=match):
    _load(spec, classes=2)


def test_too_few_for_a_test_part():
  spec = {"image": _IMAGE[:6], "label": _LABEL[:6]}
  with pytest.raises(DataError, match="no test part"):
    _load(spec, "test")


def test_bad_npz(tmp_path):
  with pytest.raises(DataError, match="there is no file"):
    _load(tmp_path / "none.npz")
  path = tmp_path / "bad.npz"
  np.savez(path, image=_IMAGE, label=_LABEL)
  path.write_bytes(path.read_bytes()[:200])
  with pytest.raises(DataError, match=r"cannot read .*bad.npz"):
    _load(path)
  np.save(path.with_suffix(".npy"), _IMAGE)
  path.with_suffix(".npy").rename(path)
  with pytest.raises(DataError, match=r"cannot read .*not a zip"):
    _load(path)
  np.savez(path, image=np.array([{}], object), label=_LABEL)
  with pytest.raises(DataError, match=r"cannot read .*allow_pickle"):
    _load(path)


def test_names(data):
  with pytest.raises(DataError, match=r"did you mean .*cifar10.*data list"):
    _load("cifar1O")
  with pytest.raises(DataError, match="run: kd-jax data build cifar10"):
    _load("cifar10")


def test_a_name_in_another_size(dummies):
  whole = _load("digits")["image"]
  assert _load("digits", image_size=8)["image"].shape == whole.shape
  for size in (5, (3, 7)):
    h, w = (size, size) if isinstance(size, int) else size
    small = _load("digits", image_size=size)["image"]
    assert small.shape == (len(whole), h, w, 1)
    np.testing.assert_array_equal(small[3], images.resize(whole[3], (h, w)))


def test_unknown_split_of_a_name(dummies):
  with pytest.raises(DataError, match=r"digits has no split 'val'; .*test"):
    _load("digits", "val")


def test_an_empty_class_folder(tmp_path):
  root = _folder(tmp_path / "pets")
  (root / "bird").mkdir()
  with pytest.raises(DataError, match=r"class folder bird of .* has no images"):
    _load(root)
  assert len(_load(root, labelled=False)["image"]) == 12


def test_a_folder_is_decoded_once(tmp_path):
  root = _folder(tmp_path / "pets")
  said = []
  parts = [sources.load(root, s, say=said.append) for s in ("train", "test")]
  assert [len(p["label"]) for p in parts] == [10, 2]
  whole = _load(root)["image"]
  np.testing.assert_array_equal(parts[1]["image"], whole[[4, 10]])
  assert any("train: 10 to do" in line for line in said)
  assert any("test: 2 to do" in line for line in said)


def test_a_folder_resized_to_what_is_not_square(tmp_path):
  root = _folder(tmp_path / "pets")
  assert _load(root, image_size=(3, 7))["image"].shape == (12, 3, 7, 3)


def test_sixteen_bits_are_refused(tmp_path):
  root = _folder(tmp_path / "pets")
  deep = Image.fromarray(np.full((4, 5), 60000, np.uint16))
  deep.save(root / "dog" / "deep.png")
  with pytest.raises(DataError, match=r"deep.png has more than 8 bits"):
    _load(root)


def test_a_label_that_the_images_cannot_fill():
  label = _LABEL.copy()
  label[3] = 10**9
  with pytest.raises(DataError, match=r"label 3 .* 0 to 19 \(20 images\)"):
    _load({"image": _IMAGE, "label": label})


@pytest.mark.parametrize(
  ("spec", "match"),
  [
    ("", "is empty"),
    ("~no_such_user/x", "there is no folder ~no_such_user/x"),
    ("no/such", "no data set is named 'no/such'.* nor is it a folder"),
    ("mnist:99.9.9", "mnist has no configuration or version"),
    ("mnist/x", "mnist has no configuration or version"),
  ],
)
def test_names_that_are_nothing(data, spec, match):
  with pytest.raises(DataError, match=match):
    _load(spec)
