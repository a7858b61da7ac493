"""The network in what a training program saved."""

from collections.abc import Iterable
from typing import Any

from faceqat.files.restricted_pickle import kind_of, shown
from faceqat.models.weights.torch_pickle import StoredTensor

# Where training programs keep the network in what they save, in the order in
# which it is looked for.
_NETWORK_KEYS = (
  'state_dict',
  'model_state_dict',
  'net_state_dict',
  'backbone_state_dict',
  'state_dict_backbone',
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
  known: dict[int, bool] = {}

  def has_tensors(value: Any) -> bool:
    # By identity: a small file can hold a large dictionary a million times.
    if id(value) not in known:
      known[id(value)] = isinstance(value, dict) and bool(_tensors(value))
    return known[id(value)]

  def leads_to_tensors(value: Any) -> bool:
    return isinstance(value, dict) and (
      has_tensors(value)
      or any(has_tensors(value.get(k)) for k in _NETWORK_KEYS)
    )

  # A network in a network is as deep as training programs go; a damaged
  # dictionary may hold itself.
  for _ in range(3):
    if not isinstance(found, dict):
      break
    inner = {
      key: value
      for key, value in found.items()
      if isinstance(key, str) and leads_to_tensors(value)
    }
    nested = [inner[key] for key in _NETWORK_KEYS if key in inner]
    tensors = _tensors(found)
    if tensors and not nested:
      return tensors
    if len(inner) > 1 and not nested:
      raise ValueError(
        f'{path} has several dictionaries of tensors, {_first(inner)}, none '
        f'called as a network is, one of {sorted(_NETWORK_KEYS)}: save the one '
        'that is the network by itself'
      )
    found = nested[0] if nested else next(iter(inner.values()), None)
  raise ValueError(
    f'{path} has no state dictionary: wanted tensors by name, or these under '
    f'one of {sorted(_NETWORK_KEYS)}, got {_describe(content)}: save it again '
    'as torch.save(model.state_dict(), path)'
  )


def _tensors(value: dict) -> dict[str, StoredTensor]:
  return {
    key: item
    for key, item in value.items()
    if isinstance(key, str) and isinstance(item, StoredTensor)
  }


def _describe(content: Any) -> str:
  if isinstance(content, dict):
    return f'a dictionary of {_first(content)}'
  return f'a {kind_of(content)}'


def _first(names: Iterable) -> str:
  """The first names of a dictionary, for a message."""
  return f'[{", ".join(sorted(map(shown, names))[:8])}]'


def without_wrappers(arrays: dict[str, Any]) -> dict[str, Any]:
  """Takes 'module.' and '_orig_mod.' off the names where all have it."""
  for wrapper in _WRAPPERS * 2:
    if arrays and all(name.startswith(wrapper) for name in arrays):
      arrays = {name[len(wrapper) :]: value for name, value in arrays.items()}
  return arrays
