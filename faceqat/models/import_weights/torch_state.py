"""The network in what a training program saved."""

from typing import Any

from faceqat.models.import_weights.torch_pickle import StoredTensor

# Where training programs keep the network in what they save, in the order in
# which it is looked for.
_NETWORK_KEYS = (
  'state_dict',
  'model_state_dict',
  'net_state_dict',
  'backbone_state_dict',
  'model',
  'net',
  'network',
  'backbone',
)
# What DataParallel and torch.compile put before each name.
_WRAPPERS = ('module.', '_orig_mod.')


def find_network(content: Any, path: str) -> dict[str, StoredTensor]:
  """Finds the network's tensors in what a checkpoint holds.

  Args:
    content: of `torch_pickle.read_pickle`.
    path: the file, for messages.

  Returns:
    Tensors by name: of `content` itself, or of a dictionary in it that has one
    of the usual names or is the only one with tensors.

  Raises:
    ValueError: there is none, or there are several that could be meant.
  """
  found = content
  # A network in a network is as deep as training programs go; a damaged
  # dictionary may hold itself.
  for _ in range(3):
    if not isinstance(found, dict):
      break
    inner = {
      key: value
      for key, value in found.items()
      if isinstance(key, str) and _leads_to_tensors(value)
    }
    nested = [inner[key] for key in _NETWORK_KEYS if key in inner]
    tensors = _tensors(found)
    if tensors and not nested:
      return tensors
    if len(inner) > 1 and not nested:
      raise ValueError(
        f'{path} has several dictionaries of tensors, {sorted(inner)}, none '
        f'called as a network is, one of {sorted(_NETWORK_KEYS)}: save the one '
        'that is the network by itself.'
      )
    found = nested[0] if nested else next(iter(inner.values()), None)
  raise ValueError(
    f'{path} has no state dictionary: wanted tensors by name, or these under '
    f'one of {sorted(_NETWORK_KEYS)}, got {_describe(content)}. Save it again '
    'as torch.save(model.state_dict(), path).'
  )


def _tensors(value: dict) -> dict[str, StoredTensor]:
  return {
    key: item
    for key, item in value.items()
    if isinstance(key, str) and isinstance(item, StoredTensor)
  }


def _leads_to_tensors(value: Any) -> bool:
  if not isinstance(value, dict):
    return False
  networks = [value.get(key) for key in _NETWORK_KEYS]
  return any(
    bool(_tensors(one)) for one in [value, *networks] if isinstance(one, dict)
  )


def _describe(content: Any) -> str:
  if isinstance(content, dict):
    return f'a dictionary of {sorted(map(str, content))[:8]}'
  return f'a {type(content).__name__}'


def without_wrappers(arrays: dict[str, Any]) -> dict[str, Any]:
  """Takes 'module.' and '_orig_mod.' off the names where all have it."""
  for wrapper in _WRAPPERS * 2:
    if arrays and all(name.startswith(wrapper) for name in arrays):
      arrays = {name[len(wrapper) :]: value for name, value in arrays.items()}
  return arrays
