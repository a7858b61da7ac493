"""The IR networks of face.evoLVe as PyTorch has them: names, shapes, layers.

Written from that project's own names, and not from what reads them.
"""

import functools

import numpy as np


def units(numbers, channels):
  """(inputs, outputs, stride) of each unit, in order."""
  inputs = channels[0]
  for number, outputs in zip(numbers, channels):
    for index in range(number):
      yield inputs, outputs, 2 if index == 0 else 1
      inputs = outputs


def shapes(numbers, channels, side, size):
  """The shape of every weight by name; a batch norm's is [C]."""
  first, last = channels[0], channels[-1]
  named = {'input_layer.0': (first, 3, 3, 3), 'input_layer.1': (first,)}
  named['input_layer.2'] = (first,)
  for index, (i, o, _) in enumerate(units(numbers, channels)):
    named |= {
      f'body.{index}.res_layer.0': (i,),
      f'body.{index}.res_layer.1': (o, i, 3, 3),
      f'body.{index}.res_layer.2': (o,),
      f'body.{index}.res_layer.3': (o, o, 3, 3),
      f'body.{index}.res_layer.4': (o,),
    }
    if i != o:
      named[f'body.{index}.shortcut_layer.0'] = (o, i, 1, 1)
      named[f'body.{index}.shortcut_layer.1'] = (o,)
  named['output_layer.0'] = (last,)
  named['output_layer.3'] = (size, last * side * side)
  named['output_layer.4'] = (size,)
  return named


def is_prelu(name):
  return name == 'input_layer.2' or name.endswith('res_layer.2')


def random_state(numbers, channels, side, size):
  """Every tensor of such a network, drawn at random."""
  rng = np.random.default_rng(0)
  state = {}
  for name, shape in shapes(numbers, channels, side, size).items():
    if is_prelu(name):
      state[f'{name}.weight'] = rng.uniform(-0.1, 0.5, shape)
    elif len(shape) > 1:
      state[f'{name}.weight'] = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape)
    else:
      signs = rng.choice([-1, 1], shape)
      state[f'{name}.weight'] = signs * rng.uniform(0.6, 1.4, shape)
      state[f'{name}.bias'] = rng.normal(0.3, 0.3, shape)
      state[f'{name}.running_mean'] = rng.normal(0, 0.1, shape)
      state[f'{name}.running_var'] = 10.0 ** rng.uniform(-4, 0, shape)
      state[f'{name}.num_batches_tracked'] = np.array(7)
  state['output_layer.3.bias'] = rng.normal(0, 1, size)
  return {
    name: value.astype(np.float32) if value.ndim else value
    for name, value in state.items()
  }


def torch_network(numbers, channels, side, size):
  """The network in PyTorch."""
  from torch import nn

  # Settled by few batches.
  norm = functools.partial(nn.BatchNorm2d, momentum=0.9)

  def conv(inputs, outputs, taps, stride=1):
    padding = taps // 2
    return nn.Conv2d(inputs, outputs, taps, stride, padding, bias=False)

  class Unit(nn.Module):
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
      )

    def forward(self, x):
      return self.shortcut_layer(x) + self.res_layer(x)

  first, last = channels[0], channels[-1]
  network = nn.Sequential()
  network.input_layer = nn.Sequential(
    conv(3, first, 3), norm(first), nn.PReLU(first)
  )
  network.body = nn.Sequential(
    *(Unit(*unit) for unit in units(numbers, channels))
  )
  network.output_layer = nn.Sequential(
    norm(last),
    nn.Dropout(),
    nn.Flatten(),
    nn.Linear(last * side * side, size),
    nn.BatchNorm1d(size, momentum=0.9),
  )
  return network
