"""facenet-pytorch's InceptionResnetV1 in NumPy: names, shapes and formula.

Written from the project's own modules, and not from what reads them.
"""

import numpy as np

EPSILON = 1e-3


class Network:
  """A random network with one block in each of its repetitions.

  Its batch norms have the statistics of the first images that it embeds, so
  that no activations grow or die.
  """

  def __init__(self, size: int):
    self.state = {}
    self._rng = np.random.default_rng(0)
    self._settled = False
    self._size = size

  def __call__(self, x: np.ndarray) -> np.ndarray:
    """[B, H, W, 3], as the project normalises images, to [B, D]."""
    x = self._basic(x, 'conv2d_1a', 32, 3, stride=2)
    x = self._basic(x, 'conv2d_2a', 32, 3)
    x = self._basic(x, 'conv2d_2b', 64, 3, padding=1)
    x = max_pool(x)
    x = self._basic(x, 'conv2d_3b', 80, 1)
    x = self._basic(x, 'conv2d_4a', 192, 3)
    x = self._basic(x, 'conv2d_4b', 256, 3, stride=2)
    x = np.maximum(self._block35(x, 'repeat_1.0'), 0)
    x = self._mixed_6a(x)
    x = np.maximum(self._block17(x, 'repeat_2.0'), 0)
    x = self._mixed_7a(x)
    x = np.maximum(self._block8(x, 'repeat_3.0', 0.2), 0)
    x = self._block8(x, 'block8', 1.0).mean((1, 2))
    weight = self._draw('last_linear.weight', (self._size, x.shape[-1]))
    x = self._norm(x @ weight.T, 'last_bn')
    self._settled = True
    return x

  def _block35(self, x, name):
    one, three = (32, 1), (32, 3, 1, 1)
    branches = self._branches(x, name, [one], [one, three], [one, three, three])
    return x + 0.17 * self._up(x, name, *branches)

  def _block17(self, x, name):
    row, column = (128, (1, 7), 1, (0, 3)), (128, (7, 1), 1, (3, 0))
    branches = self._branches(x, name, [(128, 1)], [(128, 1), row, column])
    return x + 0.1 * self._up(x, name, *branches)

  def _block8(self, x, name, scale):
    row, column = (192, (1, 3), 1, (0, 1)), (192, (3, 1), 1, (1, 0))
    branches = self._branches(x, name, [(192, 1)], [(192, 1), row, column])
    return x + scale * self._up(x, name, *branches)

  def _mixed_6a(self, x):
    steps = [(192, 1), (192, 3, 1, 1), (256, 3, 2)]
    branches = self._branches(x, 'mixed_6a', [(384, 3, 2)], steps)
    return np.concatenate([*branches, max_pool(x)], -1)

  def _mixed_7a(self, x):
    one = (256, 1)
    steps = [one, (256, 3, 1, 1), (256, 3, 2)]
    branches = self._branches(
      x, 'mixed_7a', [one, (384, 3, 2)], [one, (256, 3, 2)], steps
    )
    return np.concatenate([*branches, max_pool(x)], -1)

  def _branches(self, x, name, *branches):
    """Of convolutions by features, window, stride and padding."""
    for index, steps in enumerate(branches):
      y = x
      for step, fields in enumerate(steps):
        part = f'.{step}' if len(steps) > 1 else ''
        y = self._basic(y, f'{name}.branch{index}{part}', *fields)
      yield y

  def _up(self, x, name, *branches):
    y = np.concatenate(branches, -1)
    shape = x.shape[-1], y.shape[-1], 1, 1
    weight = self._draw(f'{name}.conv2d.weight', shape)
    bias = self._draw(f'{name}.conv2d.bias', shape[:1])
    return conv(y, weight) + bias

  def _basic(self, x, name, features, window, stride=1, padding=0):
    window = (window, window) if isinstance(window, int) else window
    shape = features, x.shape[-1], *window
    weight = self._draw(f'{name}.conv.weight', shape)
    x = conv(x, weight, stride, padding)
    return np.maximum(self._norm(x, f'{name}.bn'), 0)

  def _norm(self, x, name):
    axes = tuple(range(x.ndim - 1))
    if not self._settled:
      self.state[f'{name}.running_mean'] = np.float32(x.mean(axes))
      self.state[f'{name}.running_var'] = np.float32(x.var(axes))
      self.state[f'{name}.num_batches_tracked'] = np.array(1)
    mean, var = (
      self.state[f'{name}.running_{part}'] for part in ('mean', 'var')
    )
    gamma = self._draw(f'{name}.weight', x.shape[-1:], around=1)
    beta = self._draw(f'{name}.bias', x.shape[-1:])
    return gamma * (x - mean) / np.sqrt(var + EPSILON) + beta

  def _draw(self, name, shape, around=0.0):
    if name not in self.state:
      fan_in = np.prod(shape[1:]) if len(shape) > 1 else 10
      value = around + self._rng.normal(0, fan_in**-0.5, shape)
      self.state[name] = np.float32(value)
    return np.float64(self.state[name])


def conv(x, weight, stride=1, padding=0):
  """[B, H, W, I] with PyTorch's [O, I, kh, kw]."""
  rows, columns = (padding,) * 2 if isinstance(padding, int) else padding
  x = np.pad(x, ((0, 0), (rows, rows), (columns, columns), (0, 0)))
  windows = np.lib.stride_tricks.sliding_window_view(
    x, weight.shape[2:], (1, 2)
  )
  return np.tensordot(
    windows[:, ::stride, ::stride], weight, ((3, 4, 5), (1, 2, 3))
  )


def max_pool(x):
  """3x3 of every second position, unpadded."""
  windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))
  return windows[:, ::2, ::2].max((-2, -1))
