"""The PyTorch side of `training_step`: eager, channels_last; QAT by fx mode."""

import warnings
from collections.abc import Callable

import torch
from torch import nn
from torch.ao.quantization import get_default_qat_qconfig_mapping
from torch.ao.quantization.quantize_fx import prepare_qat_fx

from benchmarks import torch_networks
from benchmarks import training_task as task


def make_steps(
  name: str, batch_size: int, threads: int
) -> tuple[dict[str, Callable[[], float]], int]:
  """Makes the steps of a model, as `faceqat_training.make_steps` does."""
  torch.set_num_threads(threads)
  torch.manual_seed(0)
  images, labels = map(torch.from_numpy, task.make_batch(batch_size))
  # [B, H, W, 3] seen as [B, 3, H, W] is what PyTorch calls channels_last.
  images, labels = images.permute(0, 3, 1, 2), labels.long()

  def make_step(network):
    network = network.to(memory_format=torch.channels_last)
    arcface = torch_networks.ArcFace(
      task.EMBEDDING_SIZE, task.NUM_CLASSES, task.SCALE, task.MARGIN
    )
    parameters = [*network.parameters(), *arcface.parameters()]
    optimizer = torch.optim.SGD(
      parameters,
      task.LEARNING_RATE,
      task.MOMENTUM,
      weight_decay=task.WEIGHT_DECAY,
    )

    def run():
      optimizer.zero_grad()
      loss = arcface(network((images.float() - 128) / 128), labels)
      loss.backward()
      optimizer.step()
      return loss.item()

    return run, sum(parameter.numel() for parameter in parameters)

  float_step, size = make_step(_make_network(name, quantize=False))
  qat_step, _ = make_step(_make_network(name, quantize=True))
  return {'PyTorch float': float_step, 'PyTorch QAT': qat_step}, size


def _make_network(name: str, quantize: bool) -> nn.Module:
  if name == 'mobilefacenet':
    network = torch_networks.make_mobilefacenet(task.EMBEDDING_SIZE)
  else:
    # fx fuses ReLU with the convolution before it, but not ReLU6, which would
    # cost a second quantizer; torchvision makes the same replacement.
    network = torch_networks.make_mobilenet_v2(
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
