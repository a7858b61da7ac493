"""Evaluates linear methods on the drawn faces of the main experiment.

  python -m benchmarks.linear_baseline

The methods are raw pixels, and a linear discriminant on principal components.
They are trained on the people of an experiment, by default
`configs/mbv2_int8.py`, and evaluated on its pairs of other people exactly as
its network is. A network that is not clearly better learnt nothing.
"""

import numpy as np
from absl import flags
from ml_collections import config_flags
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from faceqat import command
from faceqat.data import datasets
from faceqat.evaluators import verification

# Pixels are averaged in blocks of this size: 112x112 becomes 28x28.
BLOCK = 4


def features(images: np.ndarray) -> np.ndarray:
  """[B, H, W, 3] uint8 to [B, H * W * 3 / BLOCK^2] float32."""
  batch, height, width, _ = images.shape
  blocks = images.reshape(
    batch, height // BLOCK, BLOCK, width // BLOCK, BLOCK, 3
  )
  return blocks.mean(axis=(2, 4)).reshape(batch, -1).astype(np.float32)


def main():
  config = flags.FLAGS.config
  train = datasets.make_training_data(config.data).train
  pairs = datasets.make_evaluation_pairs(
    config.eval, image_size=config.data.image_size
  )
  pixels = np.concatenate(
    [features(train[i]['image'][None]) for i in range(len(train))]
  )
  mean = pixels.mean(axis=0)
  predicts = {'pixels': lambda images: features(images) - mean}
  for components in map(int, flags.FLAGS.components):
    pca = PCA(components, whiten=True, random_state=0).fit(pixels)
    lda = LinearDiscriminantAnalysis().fit(pca.transform(pixels), train.labels)
    predicts[f'LDA on {components} components'] = (
      lambda images, pca=pca, lda=lda: lda.transform(
        pca.transform(features(images))
      )
    )
  for name, predict in predicts.items():
    results = dict(verification.evaluate(predict, pairs, batch_size=64))
    print(
      f'{name:24} accuracy {100 * results["accuracy"]:.2f} % '
      f'± {100 * results["accuracy_se"]:.2f}, AUC {results["auc"]:.4f}'
    )


if __name__ == '__main__':
  config_flags.DEFINE_config_file(
    'config', 'configs/mbv2_int8.py', 'The experiment.'
  )
  flags.DEFINE_list('components', '100,300', 'Of pixels, for discriminants.')
  command.run(main)
