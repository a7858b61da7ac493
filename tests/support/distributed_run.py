"""One of two processes with four CPU devices each.

python tests/support/distributed_run.py FUNCTION ADDRESS PROCESS_ID ARGUMENTS...
"""

import json
import os
import signal
import sys

import settings

os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['XLA_FLAGS'] = settings.xla_flags(devices=4)

import jax
import ml_collections
import numpy as np

from faceqat.training import distributed

# Gloo writes to C's standard output, in pieces between other lines: that goes
# to /dev/null, Python's to the original.
_OUTPUT = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
sys.stdout = os.fdopen(os.dup(_OUTPUT), 'w', buffering=1)


def say(*words):
  """Prints also in a process whose print is silent."""
  os.write(_OUTPUT, f'{" ".join(map(str, words))}\n'.encode())


def train_in_parts(workdir, config, dense_workdir, dense_config):
  """Trains until process 1 gets a signal, continues, and is stopped again.

  Then trains to the end with a classifier that is whole on each device.
  """
  from tiny_run import taken_batches

  from faceqat.evaluators.predict import make_predict
  from faceqat.quant.spec import FLOAT
  from faceqat.training.checkpoint import load_network
  from faceqat.training.loop import train

  def stop(batch):
    # Batches 2 and 3 of the second part calibrate.
    if jax.process_index() == 1 and batch in (1, 5):
      os.kill(os.getpid(), signal.SIGTERM)

  config = ml_collections.ConfigDict(json.loads(config))
  with taken_batches(stop) as batches:
    for _ in range(2):
      stopped_by = train(config, workdir)
      say('stopped by', stopped_by.name, 'after', len(batches), 'batches')
  train(ml_collections.ConfigDict(json.loads(dense_config)), dense_workdir)
  if distributed.is_first():
    # Loading must not wait for the other process.
    network = load_network(workdir)
    predict = make_predict(network.model, network.variables, FLOAT)
    embeddings = predict(np.zeros((1, 32, 32, 3), np.uint8))
    say('step', network.step, 'read alone:', embeddings.shape)


def fail(message):
  """Agrees on values, then fails in process 1 while process 0 waits for it."""
  index = jax.process_index()
  print(f'printed by {index}')
  say('value', distributed.value_of_first({'of': [index, None, 'ä']}))
  say('array', distributed.arrays_of_first(np.full(2, index + 0.5)))
  distributed.check_same({'seed': 1})
  try:
    distributed.check_same({'seed': 1, 'labels': index})
  except ValueError as error:
    say(error)
  if index == 1:
    raise ValueError(message)
  distributed.value_of_first(0)


if __name__ == '__main__':
  function, address, process_id, *arguments = sys.argv[1:]
  with distributed.connected(True, address, 2, int(process_id)):
    globals()[function](*arguments)
