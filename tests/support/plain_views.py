"""The self-supervised losses as their papers print them: loops, float64."""

import numpy as np


def unit(v):
  return np.asarray(v, float) / np.sqrt((np.asarray(v, float) ** 2).sum())


def log_softmax(x):
  x = np.asarray(x, float)
  return x - x.max() - np.log(np.exp(x - x.max()).sum())


def info_nce_batch(q, k, t):
  values = []
  for i in range(len(q)):
    logits = [unit(q[i]) @ unit(other) / t for other in k]
    values.append(-2 * t * log_softmax(logits)[i])
  return np.array(values)


def info_nce_queue(q, k, queue, t):
  values = []
  for a, b in zip(q, k, strict=True):
    own = unit(a) @ unit(b)
    logits = [own / t, *(unit(a) @ np.asarray(n, float) / t for n in queue)]
    values.append(-log_softmax(logits)[0])
  return np.array(values)


def byol(p, p2, z, z2):
  values = []
  for a, a2, b, b2 in zip(p, p2, z, z2, strict=True):
    there = ((unit(a) - unit(b2)) ** 2).sum()
    back = ((unit(a2) - unit(b)) ** 2).sum()
    values.append(there + back)
  return np.array(values)


def simsiam(p, p2, z, z2):
  values = []
  for a, a2, b, b2 in zip(p, p2, z, z2, strict=True):
    values.append(-(unit(a) @ unit(b2) + unit(a2) @ unit(b)) / 2)
  return np.array(values)


def cross_views(target, said):
  """Target and said: by view, by row; the pairs of different views."""
  total, pairs = np.zeros(said.shape[1]), 0
  for c in range(len(target)):
    for v in range(len(said)):
      if v == c:
        continue
      pairs += 1
      for i in range(said.shape[1]):
        total[i] -= target[c, i] @ log_softmax(said[v, i])
  return total / pairs


def dino(s, t, m, student_temperature, teacher_temperature):
  t = (np.asarray(t, float) - m) / teacher_temperature
  target = np.exp(np.apply_along_axis(log_softmax, -1, t))
  return cross_views(target, np.asarray(s, float) / student_temperature)


def sinkhorn(scores, epsilon, iterations):
  """On exponentials, prototypes by samples, as in the paper's appendix."""
  m = np.exp(np.asarray(scores, float) / epsilon).T
  k, b = m.shape
  m /= m.sum()
  for _ in range(iterations):
    m /= m.sum(1, keepdims=True)
    m /= k
    m /= m.sum(0, keepdims=True)
    m /= b
  return (m * b).T


def variance(z, floor=1.0, epsilon=1e-4):
  std = np.sqrt(np.asarray(z, float).var(0, ddof=1) + epsilon)
  return np.maximum(0, floor - std).mean()


def covariance(z):
  c = np.cov(np.asarray(z, float).T)
  d = len(c)
  return sum(c[i, j] ** 2 for i in range(d) for j in range(d) if i != j) / d


def barlow(z, z2, w=0.0051, epsilon=1e-5):
  y, y2 = (
    (np.asarray(a, float) - a.mean(0, dtype=float))
    / np.sqrt(np.asarray(a, float).var(0) + epsilon)
    for a in (z, z2)
  )
  c = y.T @ y2 / len(z)
  d = len(c)
  total = 0.0
  for i in range(d):
    for j in range(d):
      total += (1 - c[i, i]) ** 2 if i == j else w * c[i, j] ** 2
  return total
