"""MobileFaceNet as PyTorch's projects have it: names, shapes and the network.

Written from the projects' own names, and not from what reads them.
"""

import numpy as np
from torch_iresnet import draw_batch_norm, in_float32

# What is left is 3x2: exchanged sides would not fit.
HEIGHT, WIDTH = 48, 32


def unit_names(naming):
  """(convolution, batch norm, PReLU) in the order of the network."""

  def unit(name, prelu=True):
    return f'{name}.conv', f'{name}.bn', f'{name}.prelu' if prelu else None

  if naming == 'xiaoccer':
    yield from (unit('conv1'), unit('dw_conv1'))
    for block in range(15):
      place = f'blocks.{block}.conv'
      yield from ((f'{place}.{i}', f'{place}.{i + 1}', f'{place}.{i + 2}')
                  for i in (0, 3))  # fmt: skip
      yield f'{place}.6', f'{place}.7', None
    yield from (unit('conv2'), unit('linear7', False), unit('linear1', False))
    return
  yield from (unit('conv1'), unit('conv2_dw'))
  blocks = ['conv_23', *(f'conv_3.model.{i}' for i in range(4))]
  blocks += ['conv_34', *(f'conv_4.model.{i}' for i in range(6))]
  blocks += ['conv_45', *(f'conv_5.model.{i}' for i in range(2))]
  for block in blocks:
    yield from (unit(f'{block}.conv'), unit(f'{block}.conv_dw'))
    yield unit(f'{block}.project', False)
  head = 'output_layer.' if naming == 'output_layer' else ''
  yield from (unit('conv_6_sep'), unit(f'{head}conv_6_dw', False))
  yield f'{head}linear', f'{head}bn', None


def kernel_shapes(naming, size=(HEIGHT, WIDTH)):
  """[O, I, kh, kw] in the same order; grouped where O > 1 and I = 1."""
  shapes, channels = [(64, 3, 3, 3), (64, 1, 3, 3)], 64
  for expanded, features in (
    *((128, 64),) * 5,
    (256, 128),
    *((256, 128),) * 6,
    (512, 128),
    *((256, 128),) * 2,
  ):
    shapes += [(expanded, channels, 1, 1), (expanded, 1, 3, 3)]
    shapes += [(features, expanded, 1, 1)]
    channels = features
  shapes += [(512, 128, 1, 1), (512, 1, size[0] // 16, size[1] // 16)]
  return [*shapes, (24, 512, 1, 1) if naming == 'xiaoccer' else (24, 512)]


def random_state(naming, size=(HEIGHT, WIDTH)):
  """Every tensor of such a network, drawn at random."""
  rng = np.random.default_rng(0)
  state = {}
  for (conv, norm, prelu), shape in zip(
    unit_names(naming), kernel_shapes(naming, size), strict=True
  ):
    fan_in = np.prod(shape[1:])
    state[f'{conv}.weight'] = rng.normal(0, fan_in**-0.5, shape)
    size = shape[:1]
    state |= draw_batch_norm(rng, norm, size)
    if prelu:
      state[f'{prelu}.weight'] = rng.uniform(-0.1, 0.5, size)
  return in_float32(state)


def torch_network(naming):
  """The network in PyTorch, of layers that are named and chained here."""
  import torch

  class Network(torch.nn.Module):
    def __init__(self):
      super().__init__()
      # A plain list: PyTorch would name its layers a second time.
      self.steps = []
      for index, (names, shape) in enumerate(
        zip(unit_names(naming), kernel_shapes(naming))
      ):
        outputs, inputs, *size = shape
        grouped = inputs == 1
        stride = 2 if index in (0, 3, 18, 39) else 1
        if not size:
          conv = torch.nn.Linear(inputs, outputs, bias=False)
          norm = torch.nn.BatchNorm1d(outputs, momentum=0.9)
        else:
          conv = torch.nn.Conv2d(
            outputs if grouped else inputs,
            outputs,
            size,
            stride,
            padding=1 if size == [3, 3] else 0,
            groups=outputs if grouped else 1,
            bias=False,
          )
          norm = torch.nn.BatchNorm2d(outputs, momentum=0.9)
        layers = [conv, norm]
        if names[2]:
          layers.append(torch.nn.PReLU(outputs))
        for name, layer in zip(names, layers):
          self.place(name, layer)
        self.steps.append(torch.nn.Sequential(*layers))

    def place(self, name, layer):
      *parents, last = name.split('.')
      module = self
      for parent in parents:
        if parent not in module._modules:
          module.add_module(parent, torch.nn.Module())
        module = module._modules[parent]
      module.add_module(last, layer)

    def forward(self, x):
      x = self.steps[1](self.steps[0](x))
      for block in range(15):
        before = x
        for step in self.steps[2 + 3 * block : 5 + 3 * block]:
          x = step(x)
        # The first of conv_23, conv_34 and conv_45 have stride 2.
        if block not in (0, 5, 12):
          x = x + before
      x = self.steps[48](self.steps[47](x))
      return self.steps[49](x if naming == 'xiaoccer' else x.flatten(1))

  return Network()
