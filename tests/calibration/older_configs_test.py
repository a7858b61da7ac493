from ml_collections import ConfigDict

from configs import mbv2_int8, mobilefacenet_y1_int8
from faceqat.calibration.older_configs import with_added_fields


def test_fields_that_an_older_run_lacks_are_those_of_its_version():
  config = mbv2_int8.get_config()
  config.loss.sharded = False
  older = ConfigDict(config.to_dict())
  del older.data.check_images
  del older.data.fingerprint
  del older.data.same_names
  del older.eval.fingerprint
  del older.eval.templates
  del older.loss.sharded
  del older.model.depth_multiplier
  del older.optimizer.kernel_rate
  del older.quant.default.mean
  del older.quant.default.step_initialization
  assert with_added_fields(older).to_dict() == config.to_dict()


def test_what_a_run_says_stays():
  config = mbv2_int8.get_config()
  config.model.depth_multiplier = 0.5
  config.quant.default.step_initialization = 'lsq'
  assert with_added_fields(config).to_dict() == config.to_dict()
  assert with_added_fields(ConfigDict({'data': {}})).to_dict() == {'data': {}}


def test_fields_of_one_model_or_loss_are_added_to_it_alone():
  config = mobilefacenet_y1_int8.get_config()
  older = ConfigDict(config.to_dict())
  del older.model.inner_width
  del older.loss.features
  assert with_added_fields(older).to_dict() == config.to_dict()
