"""Replaces parts of an experiment by the word behind its config's name.

--config=configs/mbv2_int8.py:model=ir50,loss=cosface,quant=w4a8,smoke
"""

from ml_collections import ConfigDict

from configs import common
from configs.losses import LOSSES
from configs.models import MODELS

NORMS = {
  'batch': common.batch_norm,
  'renorm': common.batch_renorm,
  'group': common.group_norm,
}
QUANTS = {
  'float': {},
  'int8': {},
  'w6a6': {'weight_bits': 6, 'activation_bits': 6},
  'w4a8': {'weight_bits': 4, 'activation_bits': 8},
}
PARTS = {'model': MODELS, 'norm': NORMS, 'loss': LOSSES, 'quant': QUANTS}


def compose(
  config: ConfigDict,
  arg: str,
  smoke_image_size: int = 32,
  smoke_depth: float = 0.25,
) -> ConfigDict:
  """The config with the parts replaced that `arg` names.

  Values are changed by flags (`--config.optimizer.learning_rate=0.01`), data by
  `--config.data.path`; a part that has other fields than the one before can
  only be changed whole, and that is here.

  Args:
    config: an experiment; it is changed.
    arg: '', or words with a comma between: 'smoke', which shrinks everything,
      or 'part=name' with a part and a name of `PARTS`.
    smoke_image_size: the least that the network takes.
    smoke_depth: the share of the network's blocks that is left.

  Raises:
    ValueError: an unknown word; it lists those there are.
  """
  words = [word for word in arg.split(',') if word]
  for word in words:
    part, _, name = word.partition('=')
    if word != 'smoke' and name not in PARTS.get(part, ()):
      raise ValueError(_unknown(word))
  # The norm is a part of the model, and everything of what is shrunk.
  order = [*PARTS, 'smoke']
  for word in sorted(words, key=lambda word: order.index(word.split('=')[0])):
    part, _, name = word.partition('=')
    if part == 'norm':
      config.model.norm = NORMS[name]()
    elif part == 'quant':
      config.quant.enabled = name != 'float'
      config.quant.default.update(QUANTS[name])
    elif part == 'smoke':
      common.make_smoke(config, smoke_image_size, smoke_depth)
    else:
      config[part] = PARTS[part][name]()
  return config


def _unknown(word: str) -> str:
  choices = '; '.join(
    f'{part}={"|".join(names)}' for part, names in PARTS.items()
  )
  return f'the config has no form {word!r}; there are smoke; {choices}'
