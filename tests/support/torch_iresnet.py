"""Improved residual networks as PyTorch has them: names, shapes, layers.

Written from the projects' own names, and not from what reads them.
"""

import functools

import numpy as np


def units(numbers, channels):
  """(stage, index in it, inputs, outputs, stride) of each unit, in order."""
  inputs = channels[0]
  for stage, (number, outputs) in enumerate(zip(numbers, channels), 1):
    for index in range(number):
      yield stage, index, inputs, outputs, 2 if index == 0 else 1
      inputs = outputs


def shapes(naming, numbers, channels, side, size, reduction=16):
  """The shape of every weight by name; a batch norm's is [C]."""
  place = _arcface_torch if naming == 'arcface_torch' else _face_evolve
  first, last = channels[0], channels[-1]
  named = dict(zip(place(), [(first, 3, 3, 3), (first,), (first,)]))
  for body, (stage, index, i, o, stride) in enumerate(units(numbers, channels)):
    bn, *middle, conv, out, project, project_bn = place(body, stage, index)
    named |= {bn: (i,), middle[0]: (o, i, 3, 3)}
    named |= {name: (o,) for name in middle[1:]}
    named |= {conv: (o, o, 3, 3), out: (o,)}
    if i != o or (stride > 1 and naming == 'arcface_torch'):
      named |= {project: (o, i, 1, 1), project_bn: (o,)}
    if naming == 'face_evolve_ir_se':
      gate = f'body.{body}.res_layer.5'
      named[f'{gate}.fc1'] = (o // reduction, o, 1, 1)
      named[f'{gate}.fc2'] = (o, o // reduction, 1, 1)
  norm, dense, features = output(naming)
  return named | {
    norm: (last,),
    dense: (size, last * side * side),
    features: (size,),
  }


def output(naming):
  """The names of the last three layers with weights."""
  if naming == 'arcface_torch':
    return 'bn2', 'fc', 'features'
  return tuple(f'output_layer.{index}' for index in (0, 3, 4))


def _face_evolve(body=None, stage=None, index=None):
  del stage, index
  if body is None:
    return [f'input_layer.{layer}' for layer in range(3)]
  return [
    *(f'body.{body}.res_layer.{layer}' for layer in range(5)),
    *(f'body.{body}.shortcut_layer.{layer}' for layer in range(2)),
  ]


def _arcface_torch(body=None, stage=None, index=None):
  if body is None:
    return ['conv1', 'bn1', 'prelu']
  names = 'bn1 conv1 bn2 prelu conv2 bn3 downsample.0 downsample.1'
  return [f'layer{stage}.{index}.{name}' for name in names.split()]


def is_prelu(name):
  return name == 'input_layer.2' or name.endswith(('res_layer.2', 'prelu'))


def count(*network):
  """Trained numbers, as PyTorch counts them."""
  shape_of = shapes(*network)
  return shape_of[output(network[0])[2]][0] + sum(
    # Gamma and beta.
    int(np.prod(shape)) * (2 if len(shape) == 1 and not is_prelu(name) else 1)
    for name, shape in shape_of.items()
  )


def random_state(*network):
  """Every tensor of such a network, drawn at random."""
  rng = np.random.default_rng(0)
  state = {}
  shape_of = shapes(*network)
  _, dense, features = output(network[0])
  for name, shape in shape_of.items():
    if is_prelu(name):
      state[f'{name}.weight'] = rng.uniform(-0.1, 0.5, shape)
    elif len(shape) > 1:
      state[f'{name}.weight'] = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape)
    else:
      state |= draw_batch_norm(rng, name, shape)
  state[f'{dense}.bias'] = rng.normal(0, 1, shape_of[dense][0])
  if features == 'features':
    # It is not trained there.
    state[f'{features}.weight'] = np.ones(shape_of[features])
  return in_float32(state)


def draw_batch_norm(rng, name, shape):
  """Its five tensors; gammas of a trained network would not be negative."""
  signs = rng.choice([-1, 1], shape)
  return {
    f'{name}.weight': signs * rng.uniform(0.6, 1.4, shape),
    f'{name}.bias': rng.normal(0.3, 0.3, shape),
    f'{name}.running_mean': rng.normal(0, 0.1, shape),
    f'{name}.running_var': 10.0 ** rng.uniform(-4, 0, shape),
    f'{name}.num_batches_tracked': np.array(7),
  }


def in_float32(state):
  return {
    name: value.astype(np.float32) if value.ndim else value
    for name, value in state.items()
  }


def torch_network(naming, numbers, channels, side, size, reduction=16):
  """The network in PyTorch."""
  from torch import nn

  # Settled by few batches.
  norm = functools.partial(nn.BatchNorm2d, momentum=0.9)
  arcface = naming == 'arcface_torch'

  def conv(inputs, outputs, taps, stride=1):
    padding = taps // 2
    return nn.Conv2d(inputs, outputs, taps, stride, padding, bias=False)

  class Gate(nn.Module):
    def __init__(self, features):
      super().__init__()
      self.fc1 = conv(features, features // reduction, 1)
      self.fc2 = conv(features // reduction, features, 1)

    def forward(self, x):
      means = x.mean((2, 3), keepdim=True)
      return x * self.fc2(self.fc1(means).relu()).sigmoid()

  class FaceEvolveUnit(nn.Module):
    def __init__(self, inputs, outputs, stride):
      super().__init__()
      if inputs == outputs:
        self.shortcut_layer = nn.MaxPool2d(1, stride)
      else:
        self.shortcut_layer = nn.Sequential(
          conv(inputs, outputs, 1, stride), norm(outputs)
        )
      self.res_layer = nn.Sequential(
        norm(inputs),
        conv(inputs, outputs, 3),
        nn.PReLU(outputs),
        conv(outputs, outputs, 3, stride),
        norm(outputs),
        *([Gate(outputs)] if naming == 'face_evolve_ir_se' else []),
      )

    def forward(self, x):
      return self.shortcut_layer(x) + self.res_layer(x)

  class ArcFaceUnit(nn.Module):
    def __init__(self, inputs, outputs, stride):
      super().__init__()
      self.bn1, self.conv1 = norm(inputs), conv(inputs, outputs, 3)
      self.bn2, self.prelu = norm(outputs), nn.PReLU(outputs)
      self.conv2, self.bn3 = conv(outputs, outputs, 3, stride), norm(outputs)
      self.downsample = nn.Sequential()
      if stride > 1:
        self.downsample = nn.Sequential(
          conv(inputs, outputs, 1, stride), norm(outputs)
        )

    def forward(self, x):
      y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
      return self.bn3(self.conv2(y)) + self.downsample(x)

  first, last = channels[0], channels[-1]
  unit = ArcFaceUnit if arcface else FaceEvolveUnit
  stem = conv(3, first, 3), norm(first), nn.PReLU(first)
  dense = nn.Linear(last * side * side, size)
  features = nn.BatchNorm1d(size, momentum=0.9)
  network = nn.Sequential()
  if arcface:
    network.conv1, network.bn1, network.prelu = stem
    for stage, index, *sizes in units(numbers, channels):
      if index == 0:
        network.add_module(f'layer{stage}', nn.Sequential())
      getattr(network, f'layer{stage}').append(unit(*sizes))
    network.bn2, network.flat = norm(last), nn.Flatten()
    network.fc, network.features = dense, features
    return network
  network.input_layer = nn.Sequential(*stem)
  network.body = nn.Sequential(
    *(unit(*sizes) for _, _, *sizes in units(numbers, channels))
  )
  network.output_layer = nn.Sequential(
    norm(last), nn.Dropout(), nn.Flatten(), dense, features
  )
  return network
