"""Blocks that the experiments share. Every default stands here or in them."""

from ml_collections import ConfigDict, FieldReference


def _size(default: int) -> FieldReference:
  """A number of pixels, or (height, width); as a flag 112, or 112,96."""
  # A field has one type, but for one of any.
  return FieldReference(default, field_type=object)


def data() -> ConfigDict:
  """Training images: faces that faceqat draws, until `path` names others."""
  return ConfigDict(
    {
      # A folder person/image.jpg, a file .rec of RecordIO or .array_record (or
      # the folder that holds it), a data set tfds:NAME:SPLIT of TFDS, or '' to
      # draw faces. ~ is the home folder. Several of them, of any kind, are one
      # training set: with commas between them, the flag given several times, in
      # a text file .txt with one a line, or as a tuple (which a config may set
      # inside of config.ignore_type()).
      'path': '',
      # People of several sets who have one name: 'apart' they are different
      # people, set/name; 'merged' they are one.
      'same_names': 'apart',
      # Where a run would go on, and people came, went or were renamed since:
      # 'refuse', or 'continue': what the classifier learnt follows the names,
      # who is new begins at random and is trained on, who is gone is left out.
      'changed_people': 'refuse',
      # Where TFDS keeps its data sets; '': $TFDS_DATA_DIR, or its own folder.
      'tfds_dir': '',
      # How the faces of `path` are aligned, 'arcface', 'sphereface',
      # 'margin_32' or another name, and 'RGB' or 'BGR', where its faces.json
      # is missing or wrong.
      'fingerprint': {'template': '', 'channels': ''},
      # Of what the network is given: 112, or a height and a width, (112, 96).
      'image_size': _size(112),
      # Of the images in `path`, resized to image_size where that is another
      # one; 0: they have image_size.
      'stored_size': _size(0),
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
      # Pass over images that are missing, damaged or of another size, name
      # each once and count them, instead of stopping.
      'skip_damaged': False,
      # Look at every image before the first step, a million in some three
      # minutes, or at 20 of them.
      'check_images': True,
      # People in a batch, with batch_size / people_per_batch images each, as
      # triplets need; 0: the images in any order.
      'people_per_batch': 0,
      'num_threads': 2,
      'augment': {
        'flip_probability': 0.5,
        'max_shift': 4,
        'max_brightness': 0.2,
      },
    }
  )


def pretrained_pixels() -> ConfigDict:
  """What the network of a weight file saw, where its names do not tell."""
  return ConfigDict(
    {
      # 'RGB' or 'BGR'; ''.
      'channels': '',
      # (pixel - mean) / scale, of pixels of 0 to 255: one number, or three in
      # the order of the channels. (0,) and (255,) for 0 to 1; () for both: as
      # the project is known to have it.
      'mean': (),
      'scale': (),
    }
  )


def evaluation() -> ConfigDict:
  """Pairs of the final table; none of these people is ever trained on."""
  return ConfigDict(
    {
      # A .bin file, a folder (with `pairs`), several with commas between them,
      # or '' to draw faces. Of a folder or pack of people without a list,
      # num_pairs are drawn, or as many as there are.
      'path': '',
      # For a folder, LFW's pairs.txt, pairs_CALFW.txt, pairs_CPLFW.txt, CFP's
      # Protocol/Split/FP, AgeDB's .mat or another list, in the order of `path`.
      'pairs': '',
      # As data.fingerprint, of all that is in `path`.
      'fingerprint': {'template': '', 'channels': ''},
      # Of the images in `path`, as data.stored_size.
      'stored_size': _size(0),
      'batch_size': 64,
      # Of the pairs that are drawn,
      'seed': 0,
      'num_pairs': 6000,
      # and of the faces, where these are drawn.
      'num_people': 200,
      'images_per_person': 8,
      # Images on which float, fake-quantized and integer activations are
      # compared layer by layer.
      'agreement_images': 32,
      # Images of each person kept out of training for identification: the
      # first is the gallery's, the others are searched for; 0: none.
      'identification_images': 10,
      # Share of these people who are unknown, that is, whom the gallery lacks,
      # in the open set; 0: no open set. And the seed of who they are.
      'unknown_share': 0.5,
      'identification_seed': 0,
      # A folder with meta/ and loose_crop/ of IJB-B or IJB-C, or '': none.
      'templates': '',
      # Whether images count by the norm of their embedding, and by the face
      # detector's score, in the template that they are part of.
      'template_norm': True,
      'template_quality': True,
    }
  )


def int8() -> ConfigDict:
  """8-bit weights and activations, as the runtimes' kernels take them."""
  return ConfigDict(
    {
      'enabled': True,
      # Steps of float training before the quantizers are switched on.
      'start_step': 300,
      # Where it is not 0: passes over the training images, instead of steps.
      'start_epochs': 0.0,
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
        # From where weights' steps start: 'mse', the least squared error, or
        # 'lsq', the paper's, which is too wide for many bits.
        'step_initialization': 'mse',
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


def batch_norm() -> ConfigDict:
  """Of the model: folded into the convolution before it."""
  return ConfigDict({'name': 'batch', 'momentum': 0.9, 'epsilon': 1e-3})


def batch_renorm() -> ConfigDict:
  """Limits that widen as in the paper, scaled to trainings of 1,000 steps."""
  return ConfigDict(
    {
      'name': 'renorm',
      'momentum': 0.9,
      'epsilon': 1e-3,
      'r_max': 3.0,
      'd_max': 5.0,
      # Updates: as batch norm up to the first, the limits whole at the others.
      'start': 100,
      'r_end': 800,
      'd_end': 500,
    }
  )


def group_norm() -> ConfigDict:
  """For float alone: it has no integer form."""
  return ConfigDict({'name': 'group', 'groups': 32, 'epsilon': 1e-5})


def no_regularization() -> ConfigDict:
  """The optimiser's weight decay alone."""
  return ConfigDict({'weight': 0.0, 'decay': 1.0})


def make_smoke(config: ConfigDict, image_size: int, depth: float):
  """Shrinks an experiment; it still runs all of its parts.

  What is left is compiling, so the network keeps few blocks of each stage, and
  XLA optimises less.
  """
  config.data.update(
    image_size=image_size,
    num_people=32,
    images_per_person=4,
    validation_people=20,
    validation_pairs=40,
    people_per_batch=min(4, config.data.people_per_batch),
  )
  config.eval.update(
    num_people=20,
    images_per_person=4,
    num_pairs=40,
    agreement_images=4,
    batch_size=16,
  )
  config.update(
    batch_size=8,
    micro_batches=min(2, config.micro_batches),
    # Micro-batches are a loop, in which XLA's convolutions need optimising.
    quick_compilation=config.micro_batches == 1,
    log_steps=1,
    eval_steps=2,
    checkpoint_steps=2,
  )
  for name in config.stages:
    config.stages[name].steps = 2
  if not config.stages:
    config.total_steps = min(4, config.total_steps)
    config.quant.start_step = min(2, config.quant.start_step)
  config.optimizer.warmup_steps = 1
  config.quant.start_epochs = min(0.4, config.quant.start_epochs)
  config.quant.calibration_steps = 2
  config.model.depth_multiplier = depth
  if 'depth' in config.model:
    config.model.depth = 18
