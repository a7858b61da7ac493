"""Fields that configs of older runs lack, with the values they had then."""

import ml_collections

_UNSTATED = {'template': '', 'channels': ''}
_ADDED = {
  'data.cache_gb': 0.0,
  'data.check_images': True,
  'data.fingerprint': _UNSTATED,
  'data.same_names': 'apart',
  'eval.fingerprint': _UNSTATED,
  'eval.templates': '',
  'loss.sharded': False,
  'model.depth_multiplier': 1.0,
  'optimizer.kernel_rate': 0.0,
  'quant.default.input': 'shared',
  'quant.default.mean': 'operator',
  'quant.default.prelu': 'operator',
  'quant.default.step_initialization': 'mse',
  'quant.reconstruction_steps': 0,
  'quant.rounding': 'half_up',
}
# Of one kind of model or loss alone.
_ADDED_TO = {
  'model': {'mobilefacenet': {'inner_width': 1.0}},
  'loss': {'distillation': {'features': 0.0}},
}


def with_added_fields(
  config: ml_collections.ConfigDict,
) -> ml_collections.ConfigDict:
  """The config of a checkpoint with the fields that were added later.

  No block is added.
  """
  config = config.copy_and_resolve_references()
  for name, value in _ADDED.items():
    *blocks, field = name.split('.')
    block = config
    for parent in blocks:
      block = block.get(parent, {})
    if block and field not in block:
      block[field] = value
  for name, kinds in _ADDED_TO.items():
    block = config.get(name, {})
    for field, value in kinds.get(block.get('name'), {}).items():
      if field not in block:
        block[field] = value
  return config
