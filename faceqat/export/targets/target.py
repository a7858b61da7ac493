"""What a target is: a runtime or a chip, and the files that suit it."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from faceqat.integer.program import IntegerProgram
from faceqat.models.network import Network

# From uint8 images [B, H, W, 3] to int8 embeddings [B, D] of the program, or to
# real ones in float32 where the file gives those.
Predict = Callable[[np.ndarray], np.ndarray]
# The same, to tensor name: int8 [B, *shape], of every tensor of the program.
Taps = Callable[[np.ndarray], dict[str, np.ndarray]]
# A row of what a runtime or a compiler says of a file: title to value.
Figures = Mapping[str, str | int]


@dataclasses.dataclass(frozen=True)
class Target:
  """A runtime or a chip that a program is exported for.

  Attributes:
    promise: what a user gets, in a sentence that begins with a small letter.
    write: the content of its files by their names. It takes the program, under
      the contract that was chosen, and the network that it was lowered from,
      which is None where there is only the program. What the target cannot
      hold is a ValueError that names the layer, the target's rule, and the
      choice that would make it fit.
    contracts: whose bits the file gives there, the usual one first; where there
      are none, its differences are reported and break nothing.
    run: takes the program and the folder of the files, and gives how they run.
      A runtime that is not installed is an ImportError that names the extra.
      None: there is no runtime here.
    not_run: why `run` is None, as the end of 'not run: '.
    run_taps: the same with every tensor, to name the layer that differs; of a
      variant of the file that is never saved.
    timed: whether the time that `run` takes here tells anything of a device.
    measure: what a runtime or a compiler says of the files in a folder; it may
      add files to it. Raises ImportError as `run` does.
    made: the names of files that `run` or `measure` add. Those of an earlier
      export are removed first, as they may be of another network.
  """

  promise: str
  write: Callable[[IntegerProgram, Network | None], dict[str, bytes]]
  contracts: tuple[str, ...] = ()
  run: Callable[[IntegerProgram, pathlib.Path], Predict] | None = None
  not_run: str = ''
  run_taps: Callable[[IntegerProgram], Taps] | None = None
  timed: bool = True
  measure: Callable[[pathlib.Path], list[Figures]] | None = None
  made: tuple[str, ...] = ()


def choose_contract(name: str, target: Target, wanted: str | None) -> str:
  """The contract to lower a program under for a target.

  Args:
    name: of the target.
    target: it may have none; the program then is the usual one.
    wanted: None: the target's own.

  Raises:
    ValueError: the target does not keep the contract that is wanted.
  """
  contracts = target.contracts or ('tflite_ref',)
  if wanted is None:
    return contracts[0]
  if target.contracts and wanted not in contracts:
    raise ValueError(
      f'--target={name} gives the bits of {", ".join(contracts)}, not those of '
      f'{wanted}; leave --contract out'
    )
  return wanted
