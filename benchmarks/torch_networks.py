"""The networks and the loss of `training_step` in PyTorch.

They are plain modules, which fx can trace. Layer for layer they match
`faceqat.models`, with the same number of parameters. At stride 2 the padding is
symmetric, as is usual in PyTorch; it costs the same.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from faceqat.models import mobilefacenet, mobilenet_v2


def _unit(inputs, outputs, kernel=1, stride=1, groups=1, activation=None):
  """Convolution, batch norm and, if there is one, activation."""
  padding = 1 if kernel == 3 else 0
  layers = [
    nn.Conv2d(
      inputs, outputs, kernel, stride, padding, groups=groups, bias=False
    ),
    nn.BatchNorm2d(outputs, eps=1e-3),
  ]
  if activation == 'prelu':
    layers.append(nn.PReLU(outputs))
  elif activation is not None:
    layers.append({'relu': nn.ReLU, 'relu6': nn.ReLU6}[activation]())
  return nn.Sequential(*layers)


class InvertedResidual(nn.Module):
  """Expand, unless there is nothing to expand; depthwise; project; add."""

  def __init__(self, inputs, outputs, expansion, stride, activation):
    super().__init__()
    expanded = inputs * expansion
    layers = []
    if expansion > 1:
      layers.append(_unit(inputs, expanded, activation=activation))
    layers += [
      _unit(expanded, expanded, 3, stride, expanded, activation),
      _unit(expanded, outputs),
    ]
    self.layers = nn.Sequential(*layers)
    self.residual = stride == 1 and inputs == outputs

  def forward(self, x):
    y = self.layers(x)
    return x + y if self.residual else y


class Network(nn.Module):
  """Images [B, 3, H, W] to embeddings [B, D]."""

  def __init__(self, trunk, pool, features, embedding_size):
    super().__init__()
    self.trunk = trunk
    self.pool = pool
    self.embedding = nn.Linear(features, embedding_size, bias=False)
    self.norm = nn.BatchNorm1d(embedding_size, eps=1e-3)

  def forward(self, images):
    x = self.pool(self.trunk(images))
    return self.norm(self.embedding(torch.flatten(x, 1)))


def _blocks(stages, channels, activation):
  layers = []
  for expansion, features, repeats, stride in stages:
    for repeat in range(repeats):
      layers.append(
        InvertedResidual(
          channels, features, expansion, 1 if repeat else stride, activation
        )
      )
      channels = features
  return layers


def make_mobilenet_v2(embedding_size: int, activation: str) -> Network:
  """MobileNetV2 1.0; `activation` is 'relu6', or 'relu', which fx can fuse."""
  trunk = nn.Sequential(
    _unit(3, 32, 3, 2, activation=activation),
    *_blocks(mobilenet_v2.STAGES, 32, activation),
    _unit(320, 1280, activation=activation),
  )
  return Network(trunk, nn.AdaptiveAvgPool2d(1), 1280, embedding_size)


def make_mobilefacenet(embedding_size: int) -> Network:
  """MobileFaceNet with PReLU, for 112x112 images."""
  trunk = nn.Sequential(
    _unit(3, 64, 3, 2, activation='prelu'),
    _unit(64, 64, 3, groups=64, activation='prelu'),
    *_blocks(mobilefacenet.STAGES, 64, 'prelu'),
    _unit(128, 512, activation='prelu'),
  )
  return Network(trunk, _unit(512, 512, 7, groups=512), 512, embedding_size)


class ArcFace(nn.Module):
  """Mean cross-entropy of the margin logits, as `faceqat.losses.margin`."""

  def __init__(self, embedding_size, num_classes, scale, margin):
    super().__init__()
    weights = 0.01 * torch.randn(num_classes, embedding_size)
    self.weights = nn.Parameter(weights)
    self.scale = scale
    self.margin = margin

  def forward(self, embeddings, labels):
    cosine = functional.linear(
      functional.normalize(embeddings), functional.normalize(self.weights)
    )
    with torch.no_grad():
      target = cosine.gather(1, labels[:, None]).clamp(-1, 1)
      sine = ((1 - target) * (1 + target)).sqrt()
      moved = target * math.cos(self.margin) - sine * math.sin(self.margin)
      fallback = target - self.margin * math.sin(self.margin)
      moved = torch.where(target > -math.cos(self.margin), moved, fallback)
      shift = torch.zeros_like(cosine)
      shift.scatter_(1, labels[:, None], moved - target)
    return functional.cross_entropy(self.scale * (cosine + shift), labels)
