"""One function from images to embeddings, whatever holds the network.

That is a training run, in any precision, the file of an integer program, or an
exported `.tflite` or `.onnx` in its own runtime.
"""

import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from faceqat.calibration import packaged_files, packaged_program
from faceqat.evaluators import PRECISIONS, rate_table, verification
from faceqat.evaluators.rate_table import MatchTable
from faceqat.export import digests, exported, first_images
from faceqat.faces import fingerprint as fingerprints
from faceqat.faces.fingerprint import Fingerprint
from faceqat.files.image_size import ImageSize, height_width
from faceqat.identification import match_table
from faceqat.integer import program as integer_program
from faceqat.integer.program import CONTRACTS

# A file needs none of JAX, Flax and Orbax, which take seconds to import.
if TYPE_CHECKING:
  from faceqat.models.network import Network

SUFFIXES = ('.safetensors', '.tflite', '.onnx')


@dataclasses.dataclass(frozen=True)
class Embedder:
  """A network that is ready to run.

  Attributes:
    predict: from uint8 [B, H, W, 3] RGB to [B, D]: float32, or int16 that is
      the int8 embedding less its zero point.
    image_size: (H, W).
    stored_size: height and width of image files, which are resized; 0:
      image_size.
    precision: one of `evaluators.PRECISIONS`.
    fingerprint: how faces must be aligned; None where nothing says so.
    network: in a run's folder; None for a file.
    digest: takes a batch size, and gives 64 hex digits of what the network
      computes; see `load`.
    checked: whether the file was compared with a digest.
    table: its false-match rates; None where nobody measured them.
    is_symmetric: integers have no zero point to take off, and fit int8.
    contract: whose rounding a file follows; '' of a run.
  """

  predict: verification.Predict
  image_size: tuple[int, int]
  stored_size: ImageSize
  precision: str
  fingerprint: Fingerprint | None
  network: 'Network | None'
  digest: Callable[[int], str]
  checked: bool
  table: MatchTable | None = None
  is_symmetric: bool = True
  contract: str = ''

  @property
  def template(self) -> str:
    """How faces are aligned; as is usual for the size where nothing says so."""
    faces = self.fingerprint
    if faces is not None and fingerprints.names_template(faces):
      return faces.template
    # Its warps are OpenCV's, which crops do not need.
    from faceqat.faces import alignment

    return alignment.usual_template(self.image_size)

  @property
  def is_bgr(self) -> bool:
    """Whether it takes BGR."""
    return self.fingerprint is not None and self.fingerprint.channels == 'BGR'


def load(
  path: str | os.PathLike,
  precision: str | None = None,
  step: str | int = 'latest',
  contract: str = CONTRACTS[0],
) -> Embedder:
  """Loads a network.

  The digest of an integer network is that of its embeddings of fixed images:
  a program and the files exported from it, which give the same bits, are one
  network, whose templates can be compared. That of a float network is over its
  parameters and settings.

  Args:
    path: the folder of a run, a program file, an exported file, or a name of
      `packaged_files.NAMES`.
    precision: of a run; None: 'integer'. A file has no other.
    step: of a run: 'latest', 'best' or a number.
    contract: whose rounding a run is lowered to; a file has its own.

  Raises:
    ValueError: nothing of these, damaged, or without that precision or step.
  """
  is_packaged = path in packaged_files.NAMES
  if not is_packaged:
    _check_path(path)
  path = pathlib.Path(path)
  precision = precision or 'integer'
  if contract not in CONTRACTS:
    raise ValueError(
      f'the contract is {contract!r}; choose from {", ".join(CONTRACTS)}'
    )
  if precision not in PRECISIONS:
    raise ValueError(
      f'the precision is {precision!r}; choose from {", ".join(PRECISIONS)}'
    )
  if is_packaged:
    if step != 'latest':
      raise ValueError(f'{path} has no steps, and not {step!r}; leave it out')
    return _of_packaged(str(path), precision, contract)
  if path.is_dir():
    return _of_run(path, precision, step, contract)
  if precision != 'integer':
    raise ValueError(
      f'{path} holds integers alone, and not {precision!r}; leave the '
      'precision out, or give the folder of the training run'
    )
  if step != 'latest':
    raise ValueError(
      f'{path} has no steps, and not {step!r}; leave it out, or give the '
      'folder of the training run'
    )
  if path.suffix not in SUFFIXES:
    raise ValueError(
      f'{path}: its name does not end in one of {", ".join(SUFFIXES)}, which '
      'faceqat.convert writes'
    )
  return _of_file(path)


def _check_path(path: str | os.PathLike):
  """Refuses what is missing, and a folder that is no run's."""
  wanted = (
    f'give the folder of a training run, a file that faceqat.convert wrote '
    f'({", ".join(SUFFIXES)}), or {" or ".join(packaged_files.NAMES)}'
  )
  # Of an empty path, `pathlib` makes the working folder.
  if not os.path.exists(path):
    raise ValueError(f'{os.fspath(path) or repr("")} does not exist; {wanted}')
  path = pathlib.Path(path)
  if path.is_dir() and not (path / 'checkpoints').is_dir():
    files = sorted(str(x) for x in path.iterdir() if x.suffix in SUFFIXES)
    if files:
      wanted = f'give one of its files: {", ".join(files[:5])}'
    raise ValueError(f'{path} holds no checkpoints; {wanted}')


def of_network(
  network: 'Network',
  precision: str,
  contract: str,
  table: MatchTable | None = None,
) -> Embedder:
  """A network in a precision; the arguments are those of `load`.

  Args:
    table: of an evaluation; left out where that was of another network.
  """
  from faceqat.calibration.lower import lower
  from faceqat.evaluators.predict import make_predict, parameters_digest
  from faceqat.quant.spec import CONTRACT_MODES, FLOAT

  config = network.config
  size = height_width(config.data.image_size)
  if precision == 'integer':
    program = lower(network, contract=contract)
    predict = first_images.Predict(program)
    digest = functools.partial(_answers_digest, predict, size)
    own = integer_program.digest(program)
    table = table if table and table.program == own else None
    table = table or match_table.find_program(own)
  else:
    mode = FLOAT if precision == 'float' else CONTRACT_MODES[contract]
    if precision == 'fake_quant':
      lower(network, contract=contract)  # Raises where there are no ranges.
    predict = make_predict(network.model, network.variables, mode)

    def digest(batch_size):
      del batch_size
      return parameters_digest(network, precision, mode)

    table = table if table and table.network == digest(0) else None
  return Embedder(
    predict,
    image_size=size,
    stored_size=config.data.get('stored_size', 0),
    precision=precision,
    fingerprint=fingerprints.of_run(config),
    network=network,
    digest=digest,
    checked=True,
    table=table,
  )


def _of_packaged(name: str, precision: str, contract: str) -> Embedder:
  # The program that was measured needs none of what lowers it.
  as_measured = (precision, contract) == ('integer', CONTRACTS[0])
  if as_measured and (kept := packaged_program.kept_file(name)):
    return _of_file(kept)
  from faceqat.calibration.packaged_network import load_packaged

  return of_network(load_packaged(name), precision, contract)


def _of_run(
  path: pathlib.Path, precision: str, step: str | int, contract: str
) -> Embedder:
  from faceqat.training.checkpoint import load_network

  table = rate_table.load_measured(path).get(precision)
  network = load_network(str(path), step)
  embedder = of_network(network, precision, contract, table)
  if table and not embedder.table:
    print(
      f'the false-match rates in {path} are of another step, precision or '
      'contract, and are not used; faceqat.evaluate with the same --step and '
      '--contract measures a threshold'
    )
  return embedder


def _of_file(path: pathlib.Path) -> Embedder:
  if path.suffix == '.safetensors':
    program = integer_program.load(path)
    predict = first_images.Predict(program)
    size = program.tensors[program.input].shape[:2]
    zero_point = program.tensors[program.output].zero_point
    metadata, checked = program.metadata, True
    contract = program.contract
    digest = integer_program.digest(program)
  else:
    file = _EXPORTED[path.suffix](path)
    digest = digests.program_of(file.metadata)
    size, metadata, checked = file.image_size, file.metadata, file.checked
    zero_point, contract = file.zero_point, metadata['contract']

    def predict(images):
      embeddings = file.run(np.ascontiguousarray(images))
      return embeddings.astype(np.int16) - np.int16(zero_point)

  try:
    faces = fingerprints.of_metadata(metadata)
    table = rate_table.of_metadata(metadata)
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error
  return Embedder(
    predict,
    image_size=size,
    stored_size=0,
    precision='integer',
    fingerprint=faces,
    network=None,
    digest=functools.partial(_answers_digest, predict, size),
    checked=checked,
    table=_table_of(path, digest, table),
    is_symmetric=zero_point == 0,
    contract=contract,
  )


def _table_of(
  path: pathlib.Path, program: str, table: MatchTable | None
) -> MatchTable | None:
  """The table in a file, or else that of the folder it was written to."""
  if table is None:
    table = rate_table.load_measured(path.parent).get('integer')
  if table and table.program == program:
    return table
  return match_table.find_program(program)


_EXPORTED = {'.tflite': exported.read_tflite, '.onnx': exported.read_onnx}


def _answers_digest(predict, size: tuple[int, int], batch_size: int) -> str:
  """Of an integer network's templates of images that everybody can make."""
  # By a function that is defined to the last bit: noise in squares of 1 pixel,
  # of 4, of 16 and of 64.
  images = []
  for side in (1, 4, 16, 64):
    count = -(-max(size) // side)
    noise = hashlib.shake_256(f'faceqat {side}'.encode()).digest(3 * count**2)
    squares = np.frombuffer(noise, np.uint8).reshape(count, count, 3)
    large = squares.repeat(side, axis=0).repeat(side, axis=1)
    images.append(large[: size[0], : size[1]])
  templates = verification.embed(predict, images, batch_size)
  return hashlib.sha256(templates.astype('<i4').tobytes()).hexdigest()
