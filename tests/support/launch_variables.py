"""The environment variables that each launch script needs."""

TPU = {'TPU_NAME': 'pod', 'ZONE': 'zone-b'}
VARIABLES = {
  'tpu_vm/create.sh': {**TPU, 'ACCELERATOR': 'v6e-16', 'VERSION': 'v2'},
  'tpu_vm/setup.sh': TPU,
  'tpu_vm/run.sh': {**TPU, 'CONFIG': 'configs/mbv2_int8.py', 'RUN': 'a'},
  'tpu_vm/stop.sh': TPU,
  'tpu_vm/fetch.sh': {**TPU, 'RUN': 'a'},
  'tpu_vm/delete.sh': TPU,
  'slurm/submit.sh': {
    'NODES': '2',
    'GPUS_PER_NODE': '8',
    'CONFIG': 'configs/mbv2_int8.py:smoke',
    'WORKDIR': '/shared/a',
  },
  'docker/build.sh': {'DEVICE': 'gpu'},
  'docker/run.sh': {
    'DEVICE': 'gpu',
    'CONFIG': 'configs/mbv2_int8.py',
    'RUN': 'a',
  },
}
