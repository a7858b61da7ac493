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
      # Images of each person kept out of training for identification: the
      # first is the gallery's, the others are searched for; 0: none.
      'identification_images': 10,
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
      # Where the quantizers are switched on, or after a float training:
      # training batches shown to the observers,
      'calibration_steps': 8,
      # channels scaled so that their ranges are alike (Nagel 2019, 4.1),
      'equalize': False,
      # and biases moved by the mean that quantization moves (4.2).
      'correct_biases': False,
      'default': {
        'weight_bits': 8,
        'activation_bits': 8,
        'per_channel': True,
        'symmetric': False,
        # Of activations, from the batches seen: 'ema' averages their extremes,
        # 'minmax' keeps the widest; 'percentile' and 'mse' (least squared
        # error) look at all values, in the calibration alone.
        'observer': 'ema',
        # Of 'ema': the weight of the past, per step.
        'decay': 0.95,
        # Of 'percentile': at most 0.01 % of the values lie above the range,
        # and as many below.
        'percentile': 99.99,
        # Train the steps of weights and activations (LSQ, Esser 2020).
        'learned_steps': False,
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


def distillation() -> ConfigDict:
  """The embeddings of the float network that the run starts from."""
  return ConfigDict({'name': 'distillation'})


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
    batch_size=8,
    total_steps=min(4, config.total_steps),
    log_steps=1,
    eval_steps=2,
    checkpoint_steps=2,
  )
  config.optimizer.warmup_steps = 1
  config.quant.update(
    start_step=min(2, config.quant.start_step), calibration_steps=2
  )
