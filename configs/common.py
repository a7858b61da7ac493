"""Blocks that the experiments share. Every default stands here or in them."""

from ml_collections import ConfigDict, FieldReference


def _size(default: int) -> FieldReference:
  """A number of pixels, or (height, width); as a flag 112, or 112,96."""
  # Any type: a number may become a pair.
  return FieldReference(default, field_type=object)


def data() -> ConfigDict:
  """Training images: faces that faceqat draws, until `path` names others."""
  return ConfigDict(
    {
      # A folder person/image.jpg, a RecordIO file .rec, an .array_record file
      # (or its folder), a TFDS data set tfds:NAME:SPLIT, or '' to draw faces.
      # ~ is the home folder. Several sets are one training set: with commas
      # between them, in a text file .txt with one a line, by repeating the
      # flag, or as a tuple (set inside of config.ignore_type()).
      'path': '',
      # People of several sets with one name: 'apart', different people called
      # set/name, or 'merged', one person.
      'same_names': 'apart',
      # When a run goes on and people were added, removed or renamed: 'refuse',
      # or 'continue': class weights follow the names, and those of new people
      # begin at random; or 'continue_with_means', at the mean embedding of
      # their first images.
      'changed_people': 'refuse',
      # The folder of TFDS data sets; '': $TFDS_DATA_DIR, or the TFDS default.
      'tfds_dir': '',
      # Replaces a missing or wrong faces.json of `path`: how faces are aligned,
      # 'arcface', 'sphereface', 'margin_32' or another name; 'RGB' or 'BGR'.
      'fingerprint': {'template': '', 'channels': ''},
      # Of the network's input: 112, or a height and a width, (112, 96).
      'image_size': _size(112),
      # Of the images in `path`, which are then resized; 0: image_size.
      'stored_size': _size(0),
      # Of the people held out, their pairs, and drawn faces.
      'seed': 0,
      # Drawn faces only.
      'num_people': 240,
      'images_per_person': 40,
      # People kept out of training, and pairs of them to verify during
      # training; 0 people: none.
      'validation_people': 40,
      'validation_pairs': 400,
      # Images of each trained person for validation loss and accuracy.
      'holdout_images_per_person': 1,
      # Skip images that are missing, damaged or of another size, naming each
      # once, instead of stopping.
      'skip_damaged': False,
      # Check all images before the first step (a million take some three
      # minutes), or only 20.
      'check_images': True,
      # Keep decoded images of `path` in the user's cache folder, where all sets
      # together take at most so many GB; 0: decode each whenever it is used.
      'cache_gb': 4.0,
      # People in a batch, with batch_size / people_per_batch images each, as
      # triplets need; 0: images in random order.
      'people_per_batch': 0,
      # That read and decode images.
      'num_threads': 2,
      'augment': {
        # How often an image is mirrored.
        'flip_probability': 0.5,
        # Most pixels that it moves along each axis.
        'max_shift': 4,
        # Largest relative change of all pixels.
        'max_brightness': 0.2,
      },
    }
  )


def pretrained_pixels() -> ConfigDict:
  """The input of the network of a weight file, if its names do not say."""
  return ConfigDict(
    {
      # 'RGB' or 'BGR'; ''.
      'channels': '',
      # (pixel - mean) / scale, of pixels from 0 to 255: one number, or three in
      # the order of the channels. (0,) and (255,) give 0 to 1; () and () mean
      # the known values of the project.
      'mean': (),
      'scale': (),
    }
  )


def evaluation() -> ConfigDict:
  """Pairs of the final table; none of these people is ever trained on."""
  return ConfigDict(
    {
      # A .bin file, a folder (with `pairs`), several with commas between them,
      # or '' to draw faces. Without a list, num_pairs are drawn of the people
      # of a folder or pack, or fewer if there are not so many.
      'path': '',
      # For each folder, in the order of `path`: LFW's pairs.txt,
      # pairs_CALFW.txt, pairs_CPLFW.txt, CFP's Protocol/Split/FP, AgeDB's .mat
      # or another list.
      'pairs': '',
      # As data.fingerprint, for all sets of `path`.
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
      # For identification, images of each person kept out of training: the
      # first is in the gallery, the others are probes; 0: none.
      'identification_images': 10,
      # Share of these people whom the gallery lacks in the open set; 0: no
      # open set. And the seed of the choice.
      'unknown_share': 0.5,
      'identification_seed': 0,
      # A folder with meta/ and loose_crop/ of IJB-B or IJB-C, or '': none.
      'templates': '',
      # Weight images of a template by the norm of their embedding, and by the
      # score of the face detector.
      'template_norm': True,
      'template_quality': True,
    }
  )


def int8() -> ConfigDict:
  """8-bit weights and activations, as the runtimes' kernels take them."""
  return ConfigDict(
    {
      # False: a float network.
      'enabled': True,
      # Steps of float training before the quantizers are switched on.
      'start_step': 300,
      # If not 0, replaces start_step: in passes over the training images.
      'start_epochs': 0.0,
      # From this step on, batch norms keep their statistics; -1: never.
      'freeze_bn_step': 540,
      # When the quantizers are switched on, or after a float training:
      # training batches shown to the observers,
      'calibration_steps': 8,
      # whether channels are scaled to similar ranges (Nagel 2019, 4.1),
      'equalize': False,
      # for how many steps each block learns how to round its weights
      # (reconstruction, Li 2021; 0: to the nearest),
      'reconstruction_steps': 0,
      # and whether biases are corrected by the mean error (4.2).
      'correct_biases': False,
      # Of activations in training: 'half_up', as TensorFlow rounds, or
      # 'double', as LiteRT's reference kernels do, which differs at few bits.
      'rounding': 'half_up',
      'default': {
        # 2 to 8.
        'weight_bits': 8,
        'activation_bits': 8,
        # A range of weights for each output channel.
        'per_channel': True,
        # Activations around zero point 0.
        'symmetric': False,
        # Of activations: 'ema' averages the extremes of the batches, 'minmax'
        # keeps the widest; 'percentile' and 'mse' (least squared error) use all
        # values, of the calibration alone.
        'observer': 'ema',
        # Of 'ema': the weight of the past, per step.
        'decay': 0.95,
        # Of 'percentile': at most 0.01 % of the values lie above the range, and
        # at most 0.01 % below.
        'percentile': 99.99,
        # Train the steps of weights and activations (LSQ, Esser 2020).
        'learned_steps': False,
        # The first steps of weights: 'mse', the least squared error, or 'lsq',
        # as in the paper, which is too wide for many bits.
        'step_initialization': 'mse',
        # Of a PReLU: 'operator' is the runtimes' own; 'sum' is a depthwise
        # convolution and a sum, which LiteRT's default runs several times as
        # fast.
        'prelu': 'operator',
        # Over an image: 'operator' is the runtimes' own, with a range of its
        # own; 'average_pool', in the range of its input, is for runtimes
        # without it.
        'mean': 'operator',
        # Of a convolution that reads a residual sum: 'shared', the sum itself;
        # 'own', a copy with the bits of the layer '<block>/input', where the
        # sum has more.
        'input': 'shared',
      },
      # Shell patterns on layer paths. The embedding has zero point 0, so that a
      # dot product of two embeddings is a cosine up to their norms.
      'overrides': {'embedding': {'symmetric': True}},
    }
  )


def optimizer() -> ConfigDict:
  """AdamW, which gets much further than SGD in a few hundred steps."""
  return ConfigDict(
    {
      # 'adamw' or 'sgd'.
      'name': 'adamw',
      # At the end of the warm-up.
      'learning_rate': 0.004,
      # Of adamw. If not 0, an update of a kernel, decay included, is multiplied
      # by it and by the root mean square of the kernel.
      'kernel_rate': 0.0,
      # Of sgd.
      'momentum': 0.9,
      # Of kernels and class weights; biases and norms are free.
      'weight_decay': 0.05,
      # In which the rate rises from 0.
      'warmup_steps': 20,
      # After it: 'constant'; 'cosine', which falls to 0; or 'step', which
      # multiplies by step_factor at each of these fractions of the training.
      'schedule': 'cosine',
      'step_boundaries': (0.5, 0.75, 0.9),
      'step_factor': 0.1,
      # A longer gradient is scaled down to this length.
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
      # In updates: batch norm before `start`, full limits at the two ends.
      'start': 100,
      'r_end': 800,
      'd_end': 500,
    }
  )


def group_norm() -> ConfigDict:
  """For float alone, as it has no integer form."""
  return ConfigDict({'name': 'group', 'groups': 32, 'epsilon': 1e-5})


def no_regularization() -> ConfigDict:
  """The optimiser's weight decay alone."""
  return ConfigDict(
    {
      # Of an L2 penalty beside the loss; 0: none.
      'weight': 0.0,
      # Its factor after each step whose loss was smaller than the penalty.
      'decay': 1.0,
    }
  )


def make_smoke(config: ConfigDict, image_size: int, depth: float):
  """Shrinks an experiment, which still runs all of its parts.

  Most of the time is then compilation, so the network keeps few blocks of each
  stage, and XLA optimises less.
  """
  # Crops for the whole experiment are taken as they are, and resized.
  for block in (config.data, config.eval):
    block.stored_size = block.stored_size or config.data.image_size
  config.data.update(
    image_size=image_size,
    num_people=32,
    images_per_person=4,
    validation_people=min(20, config.data.validation_people),
    validation_pairs=min(40, config.data.validation_pairs),
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
    # Not with micro-batches, a loop in which convolutions need optimising.
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
  config.quant.reconstruction_steps = min(2, config.quant.reconstruction_steps)
  config.model.depth_multiplier = depth
  if 'depth' in config.model:
    config.model.depth = 18
