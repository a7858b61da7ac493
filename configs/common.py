"""Config blocks that experiments share. Defaults are only here and in them."""

from ml_collections import ConfigDict, FieldReference


def _size(default: int) -> FieldReference:
  """A number of pixels, or (height, width); as a flag 112, or 112,96."""
  # Otherwise a field has one type.
  return FieldReference(default, field_type=object)


def data() -> ConfigDict:
  """Training images: faces that faceqat draws, until `path` names others."""
  return ConfigDict(
    {
      # A folder person/image.jpg, a RecordIO file .rec or an .array_record (or
      # the folder that holds it), a TFDS data set tfds:NAME:SPLIT, or '' to
      # draw faces. ~ is the home folder. Several paths are one training set:
      # separate them with commas, give the flag several times, or name a text
      # file .txt with one path a line. A config may also set a tuple, inside of
      # config.ignore_type().
      'path': '',
      # Equal names in several sets: 'apart' are different people, set/name;
      # 'merged' are one.
      'same_names': 'apart',
      # When a run resumes and people came, went or were renamed: 'refuse', or
      # 'continue': class weights follow the names, new people begin at random,
      # missing people are left out.
      'changed_people': 'refuse',
      # Where TFDS keeps its data sets; '': $TFDS_DATA_DIR, or its own folder.
      'tfds_dir': '',
      # The alignment of `path` ('arcface', 'sphereface', 'margin_32' or another
      # name) and 'RGB' or 'BGR', if its faces.json is missing or wrong.
      'fingerprint': {'template': '', 'channels': ''},
      # Of the network's input: 112, or a height and a width, (112, 96).
      'image_size': _size(112),
      # Of the images in `path`, which are resized to image_size; 0: the same.
      'stored_size': _size(0),
      'seed': 0,
      # Drawn faces only.
      'num_people': 240,
      'images_per_person': 40,
      # People kept out of training, and their pairs, for the verification
      # during training; 0 people: none.
      'validation_people': 40,
      'validation_pairs': 400,
      # Images of each trained person for validation loss and accuracy.
      'holdout_images_per_person': 1,
      # Skip images that are missing, damaged or of another size, name each
      # once and count them, instead of stopping.
      'skip_damaged': False,
      # Check every image before the first step (a million in some three
      # minutes), or only 20 of them.
      'check_images': True,
      # People in a batch, with batch_size / people_per_batch images each, for
      # triplets; 0: images in random order.
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
  """The pixel format of a weight file, if its names do not tell the project."""
  return ConfigDict(
    {
      # 'RGB' or 'BGR'; '': as the project is known to have it.
      'channels': '',
      # (pixel - mean) / scale, of pixels of 0 to 255: one number, or three in
      # the order of the channels. (0,) and (255,) give 0 to 1; (): as above.
      'mean': (),
      'scale': (),
    }
  )


def evaluation() -> ConfigDict:
  """Pairs of the final table; none of these people is ever trained on."""
  return ConfigDict(
    {
      # A .bin file, a folder (with `pairs`), several with commas between them,
      # or '' to draw faces. From a folder or pack of people without a list,
      # num_pairs are drawn, or as many as there are.
      'path': '',
      # For a folder, LFW's pairs.txt, pairs_CALFW.txt, pairs_CPLFW.txt, CFP's
      # Protocol/Split/FP, AgeDB's .mat or another list, in the order of `path`.
      'pairs': '',
      # As data.fingerprint, for all of `path`.
      'fingerprint': {'template': '', 'channels': ''},
      # Of the images in `path`, as data.stored_size.
      'stored_size': _size(0),
      'batch_size': 64,
      # Of drawn pairs.
      'seed': 0,
      'num_pairs': 6000,
      # Of drawn faces.
      'num_people': 200,
      'images_per_person': 8,
      # Images on which float, fake-quantized and integer activations are
      # compared layer by layer.
      'agreement_images': 32,
      # Images of each person kept out of training for identification: the
      # first is the gallery's, the others are searched for; 0: none.
      'identification_images': 10,
      # Share of these people whom the gallery of the open set lacks, and the
      # seed that chooses them; 0: no open set.
      'unknown_share': 0.5,
      'identification_seed': 0,
      # A folder with meta/ and loose_crop/ of IJB-B or IJB-C, or '': none.
      'templates': '',
      # Weight the images of a template by the norm of their embedding, and by
      # the score of the face detector.
      'template_norm': True,
      'template_quality': True,
    }
  )


def int8() -> ConfigDict:
  """8-bit weights and activations, as the kernels of the runtimes take them."""
  return ConfigDict(
    {
      'enabled': True,
      # Steps of float training before the quantizers are switched on.
      'start_step': 300,
      # If not 0: passes over the training images, instead of steps.
      'start_epochs': 0.0,
      # Batch norms are frozen from this step on; -1: never.
      'freeze_bn_step': 540,
      # Calibration, before the first quantized step or after a float training:
      # training batches shown to the observers,
      'calibration_steps': 8,
      # scaling channels to similar ranges (Nagel et al. 2019, 4.1),
      'equalize': False,
      # and correcting biases for the mean error of quantization (4.2).
      'correct_biases': False,
      'default': {
        'weight_bits': 8,
        'activation_bits': 8,
        'per_channel': True,
        'symmetric': False,
        # Ranges of activations: 'ema' averages the extremes of batches,
        # 'minmax' keeps the widest; 'percentile' and 'mse' (least squared
        # error) use all values, in the calibration alone.
        'observer': 'ema',
        # Of 'ema': the weight of the past, per step.
        'decay': 0.95,
        # Of 'percentile': at most 0.01 % of the values are above the range, and
        # 0.01 % below.
        'percentile': 99.99,
        # Train the steps of weights and activations (LSQ, Esser 2020).
        'learned_steps': False,
        # First steps of weights: 'mse', the least squared error, or 'lsq', the
        # paper's, which is too wide for many bits.
        'step_initialization': 'mse',
      },
      # Shell patterns of layer paths. A flag has them in brackets, because they
      # may contain dots and slashes. The embedding has zero point 0, so the dot
      # product of two embeddings is their cosine up to their norms.
      'overrides': {'embedding': {'symmetric': True}},
    }
  )


def optimizer() -> ConfigDict:
  """AdamW, which learns much more than SGD in a few hundred steps."""
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
  """Batch norm, which folds into the convolution before it."""
  return ConfigDict({'name': 'batch', 'momentum': 0.9, 'epsilon': 1e-3})


def batch_renorm() -> ConfigDict:
  """Batch renorm; its limits widen as in the paper, scaled to 1,000 steps."""
  return ConfigDict(
    {
      'name': 'renorm',
      'momentum': 0.9,
      'epsilon': 1e-3,
      'r_max': 3.0,
      'd_max': 5.0,
      # In updates: batch norm until `start`; r_max and d_max are reached at
      # r_end and d_end.
      'start': 100,
      'r_end': 800,
      'd_end': 500,
    }
  )


def group_norm() -> ConfigDict:
  """Group norm, for float alone: it has no integer form."""
  return ConfigDict({'name': 'group', 'groups': 32, 'epsilon': 1e-5})


def no_regularization() -> ConfigDict:
  """No penalty in the loss; only the optimiser's weight decay."""
  return ConfigDict({'weight': 0.0, 'decay': 1.0})


def make_smoke(config: ConfigDict, image_size: int, depth: float):
  """Shrinks an experiment, which still runs all of its parts.

  Most of the remaining time is compiling, so the network keeps few blocks of
  each stage, and XLA optimises less.
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
    # In the loop of micro-batches, unoptimised convolutions are too slow.
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
