"""Small forms of commands that no other test runs, mostly benchmarks.

Each is a command of the documentation with few images and steps.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import settings
from settings import ROOT

CONFIG = 'configs/mbv2_int8.py'
SMOKE = f'--config={CONFIG}:smoke'
# The command: a part of what it prints at the end.
COMMANDS = {
  (
    'benchmarks.convolution',
    '--layers=14x14',
    '--batch_size=1',
    '--rounds=1',
    '--threads=1',
  ): '14x14x96 1x1/1 to 576',
  (
    'benchmarks.integer_evaluator',
    '--model=mobilefacenet',
    '--depth_multiplier=0.1',
    '--batch_sizes=1',
    '--rounds=1',
    '--threads=1',
  ): 'LiteRT, no PReLU',
  (
    'benchmarks.prelu_forms',
    '--depth_multiplier=0.1',
    '--rounds=1',
  ): 'none          1  ',
  (
    'benchmarks.device_cost',
    '--model={run}',
    '--num_images=1',
    '--rounds=1',
    '--threads=1',
  ): '  0 of 16',
  (
    'benchmarks.training_step',
    '--batch_size=2',
    '--rounds=1',
    '--threads=1',
  ): 'QAT bf16 / QAT',
  (
    'benchmarks.gpu',
    '--smoke',
    '--networks=mobilefacenet',
  ): 'QAT bf16, from disk / QAT bf16: ',
  (
    'benchmarks.input_pipeline',
    '--images={faces}',
    '--batch_size=8',
    '--batches=1',
    '--rounds=1',
    '--threads=1',
  ): '| kept              |                 2 |',
  (
    'benchmarks.micro_batches',
    '--config=tests/support/tiny_run.py',
    '--parts=2',
    '--rounds=1',
  ): '| 2 |',
  (
    'benchmarks.growth',
    '--curves=gallery',
    '--points=1000,2000',
    '--rounds=1',
  ): 'int16 / float32, 64',
  (
    'benchmarks.identities',
    '--small',
    '--tables=milliseconds',
    '--tables=resident',
  ): '| sampled |',
  ('benchmarks.identities', '--card=2000'): 'GB at the peak, loss ',
  (
    'benchmarks.listings',
    '--people=100',
    '--folders=50',
  ): '| ArrayRecord, people in the records | 50 |',
  (
    'benchmarks.linear_baseline',
    SMOKE,
    '--components=4',
  ): 'LDA on 4 components',
  (
    'benchmarks.onnx_runtime_y1',
    '--weights={y1}/model-0000.params',
    '--path={faces}',
    '--pairs={faces}/pairs.txt',
    '--compared_images=2',
    '--batch_size=2',
    '--threads=1',
  ): 'cosine to our float embeddings of 2 images',
  (
    'benchmarks.target_accuracy',
    '--model={run}',
    '--path={faces}',
    '--pairs={faces}/pairs.txt',
    '--stored_size=112',
    '--targets=onnxruntime-qdq',
    '--rounds=1',
    '--threads=1',
  ): 'onnxruntime-qdq',
  ('benchmarks.duplicates', '{faces}'): 'turned by 2 degrees',
  (
    'benchmarks.detectors',
    '--photographs={photographs}',
    '--crops={faces}',
  ): 'one view',
  ('faceqat.report', '{run}', '--out={run}/page.html'): 'page.html: ',
  ('tensorboard.main', '--inspect', '--logdir={run}'): 'train/loss',
}
# Configs whose combination of parts no other test trains.
RECIPES = (
  'inception_resnet_v1_center',
  'mobilefacenet_y1_mixed',
  'resnet50_arcface_brn',
)


def run(commands, runs=True) -> list[dict]:
  """Runs commands in one process of their own; see `as_main`."""
  wanted = [{'words': words, 'runs': runs} for words in commands]
  with tempfile.TemporaryDirectory() as folder:
    outcomes = pathlib.Path(folder, 'outcomes.json')
    result = subprocess.run(
      [sys.executable, ROOT / 'tests' / 'support' / 'as_main.py', outcomes],
      input=json.dumps(wanted),
      cwd=ROOT,
      env={**settings.one_device(), 'PYTHONPATH': str(ROOT)},
      capture_output=True,
      text=True,
      check=False,
      timeout=1200,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(outcomes.read_text())
