"""The PyTorch side of `training_step`: eager or compiled; QAT by fx mode.

The networks are plain modules, which fx can trace. Layer for layer they match
`faceqat.models`, with the same number of parameters. At stride 2 the padding is
symmetric, as is usual in PyTorch; it costs the same.
"""

import math
import shutil
import warnings
from collections.abc import Callable

import torch
from torch import nn
from torch.ao.quantization import get_default_qat_qconfig_mapping
from torch.ao.quantization.quantize_fx import prepare_qat_fx
from torch.nn import functional

from benchmarks import training_task as task
from faceqat.models import iresnet, mobilefacenet, mobilenet_v2


def make_steps(
  name: str, batch_size: int, threads: int
) -> tuple[dict[str, Callable[[], float]], int]:
  """Makes the steps of a model, as `training_step.make_steps` does."""
  torch.set_num_threads(threads)
  batch = make_batch(batch_size, 'cpu')
  steps = {}
  # To compile it needs a compiler of C++.
  for compiles in (False, True) if shutil.which('g++') else (False,):
    for bfloat16 in (False, True):
      words = ['PyTorch', 'bf16' if bfloat16 else 'float']
      steps[' '.join([*words, 'compiled'] if compiles else words)] = make_step(
        make_network(name), batch, bfloat16=bfloat16, compiles=compiles
      )
  steps['PyTorch QAT'] = make_step(make_network(name, quantize=True), batch)
  network = make_network(name)
  size = sum(parameter.numel() for parameter in network.parameters())
  return steps, size + task.NUM_CLASSES * task.EMBEDDING_SIZE


def make_batch(batch_size: int, device: str) -> tuple[torch.Tensor, ...]:
  """Images [B, 3, H, W] uint8, channels last in memory, and labels [B]."""
  images, labels = map(torch.from_numpy, task.make_batch(batch_size))
  # [B, H, W, 3] seen as [B, 3, H, W] is what PyTorch calls channels_last.
  return images.permute(0, 3, 1, 2).to(device), labels.long().to(device)


def make_step(
  network: nn.Module,
  batch: tuple[torch.Tensor, ...],
  *,
  bfloat16: bool = False,
  compiles: bool = False,
) -> Callable[[], float]:
  """A function that takes a step on a batch and returns its loss.

  Args:
    network: of `make_network`.
    batch: of `make_batch`; the network is put on its device.
    bfloat16: by autocast.
    compiles: forward and backward, by torch.compile.
  """
  images, labels = batch
  device = images.device.type
  network = network.to(device, memory_format=torch.channels_last)
  arcface = ArcFace(
    task.EMBEDDING_SIZE, task.NUM_CLASSES, task.SCALE, task.MARGIN
  ).to(device)
  optimizer = torch.optim.SGD(
    [*network.parameters(), *arcface.parameters()],
    task.LEARNING_RATE,
    task.MOMENTUM,
    weight_decay=task.WEIGHT_DECAY,
  )

  def compute():
    with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
      embeddings = network((images.float() - 128) / 128)
    return arcface(embeddings.float(), labels)

  compute = torch.compile(compute) if compiles else compute

  def run():
    optimizer.zero_grad()
    loss = compute()
    loss.backward()
    optimizer.step()
    return loss.item()

  return run


def make_network(name: str, quantize: bool = False) -> nn.Module:
  """A network to be trained; with `quantize` by fx mode."""
  torch.manual_seed(0)
  if name == 'mobilefacenet':
    network = make_mobilefacenet(task.EMBEDDING_SIZE)
  elif name == 'ir50':
    network = make_ir50(task.EMBEDDING_SIZE)
  else:
    # fx fuses ReLU with the convolution before it, but not ReLU6, which would
    # cost a second quantizer; torchvision makes the same replacement.
    network = make_mobilenet_v2(
      task.EMBEDDING_SIZE, 'relu' if quantize else 'relu6'
    )
  return _prepare_qat(network.train()) if quantize else network.train()


def _prepare_qat(network: nn.Module) -> nn.Module:
  """Per-channel symmetric weights and moving-average activation ranges."""
  mapping = get_default_qat_qconfig_mapping('x86')
  # The default is a histogram for each PReLU, which is very slow.
  mapping.set_object_type(nn.PReLU, mapping.global_qconfig)
  example = torch.zeros(1, 3, task.IMAGE_SIZE, task.IMAGE_SIZE)
  with warnings.catch_warnings():
    # fx mode is deprecated in favour of another package's export mode.
    warnings.simplefilter('ignore')
    return prepare_qat_fx(network, mapping, (example,))


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


class Unit(nn.Module):
  """Of IR: BN, convolution, BN, PReLU, convolution, BN, and the shortcut."""

  def __init__(self, inputs, outputs, stride):
    super().__init__()
    self.layers = nn.Sequential(
      nn.BatchNorm2d(inputs, eps=1e-3),
      *_unit(inputs, outputs, 3, activation='prelu'),
      *_unit(outputs, outputs, 3, stride),
    )
    self.shortcut = (
      nn.MaxPool2d(1, stride)
      if inputs == outputs
      else _unit(inputs, outputs, 1, stride)
    )

  def forward(self, x):
    return self.shortcut(x) + self.layers(x)


def make_ir50(embedding_size: int) -> nn.Module:
  """IR-50 of face.evoLVe, for 112x112 images."""
  units, inputs = [], 64
  for count, outputs in zip(iresnet.DEPTHS[50], iresnet.CHANNELS):
    for index in range(count):
      units.append(Unit(inputs, outputs, 1 if index else 2))
      inputs = outputs
  return nn.Sequential(
    _unit(3, 64, 3, activation='prelu'),
    *units,
    nn.BatchNorm2d(512, eps=1e-3),
    nn.Dropout(0.4),
    nn.Flatten(),
    nn.Linear(512 * 7 * 7, embedding_size),
    nn.BatchNorm1d(embedding_size, eps=1e-3),
  )


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
