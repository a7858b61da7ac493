"""Blocks that the experiments share. Every default stands here or in them."""

from ml_collections import ConfigDict


def data() -> ConfigDict:
  """Training images: faces that faceqat draws, until `path` names others."""
  return ConfigDict(
    {
      # A folder person/image.jpg, a RecordIO file .rec, or '' to draw faces.
      'path': '',
      'image_size': 112,
      'seed': 0,
      # Drawn faces only.
      'num_people': 240,
      'images_per_person': 40,
      # People kept out of training, and the pairs made of them, for the
      # verification during training; 0 people: none.
      'validation_people': 40,
      'validation_pairs': 400,
      # Images of each trained person for validation loss and accuracy.
      'holdout_images_per_person': 1,
      # Skip and count an image that cannot be decoded, instead of stopping.
      'skip_damaged': False,
      'num_threads': 2,
      'augment': {
        'flip_probability': 0.5,
        'max_shift': 4,
        'max_brightness': 0.2,
      },
    }
  )


def evaluation() -> ConfigDict:
  """Pairs of the final table; none of these people is ever trained on."""
  return ConfigDict(
    {
      # A .bin file, a folder (with `pairs`), or '' to draw faces.
      'path': '',
      # pairs.txt in the LFW format, for a folder.
      'pairs': '',
      'batch_size': 64,
      # Drawn faces only.
      'seed': 0,
      'num_people': 60,
      'images_per_person': 10,
      'num_pairs': 600,
      # Images on which float, fake-quantized and integer activations are
      # compared layer by layer.
      'agreement_images': 32,
    }
  )


def int8() -> ConfigDict:
  """8-bit weights and activations, as the runtimes' kernels take them."""
  return ConfigDict(
    {
      'enabled': True,
      # Steps of float training before the quantizers are switched on.
      'start_step': 300,
      # From this step on the batch norms keep their statistics; -1: never.
      'freeze_bn_step': 540,
      # Training batches shown to the observers after a float training.
      'calibration_steps': 8,
      'default': {
        'weight_bits': 8,
        'activation_bits': 8,
        'per_channel': True,
        'symmetric': False,
        'observer': 'ema',
        'decay': 0.95,
      },
      # Shell patterns on layer paths, in brackets as they hold a dot or a
      # slash: the embedding has zero point 0, so that a dot product of two of
      # them is a cosine up to their norms.
      'overrides': {'embedding': {'symmetric': True}},
    }
  )


def optimizer() -> ConfigDict:
  """AdamW: in a few hundred steps it gets much further than SGD does."""
  return ConfigDict(
    {
      'name': 'adamw',
      'learning_rate': 0.004,
      'momentum': 0.9,
      'weight_decay': 0.05,
      'warmup_steps': 20,
      'schedule': 'cosine',
      'step_boundaries': (0.5, 0.75, 0.9),
      'step_factor': 0.1,
      'clip_global_norm': 5.0,
    }
  )


def arcface() -> ConfigDict:
  """A low scale and margin: those of the paper start slowly on few people."""
  return ConfigDict({'name': 'arcface', 'scale': 16.0, 'margin': 0.2})


def make_smoke(config: ConfigDict):
  """Shrinks an experiment to seconds; it still runs all of its parts."""
  config.data.update(
    image_size=32,
    num_people=32,
    images_per_person=4,
    validation_people=20,
    validation_pairs=40,
  )
  config.eval.update(
    num_people=20, images_per_person=4, num_pairs=40, agreement_images=4
  )
  config.update(
    batch_size=8, total_steps=4, log_steps=1, eval_steps=2, checkpoint_steps=2
  )
  config.optimizer.warmup_steps = 1
  config.quant.update(start_step=2, calibration_steps=2)
