"""The projects whose weights are recognised, and the pixels that each saw.

The source, in their training code, is named beside each. A project is known by
its tensors' names and their prefix: 'backbone.' is FaceX-Zoo's, 'model.'
AdaFace's, 'features.' MagFace's, 'net.' CVLface's. Where two that saw different
pixels have the same names, `pixels.choose` asks.
"""

from faceqat.models.weights.pixels import Pixels, Project

_RGB = Pixels('RGB')
_BGR = Pixels('BGR')

# dataset.py decodes by MXNet, which gives RGB; mean and deviation 0.5 of 0..1.
ARCFACE_TORCH = Project('insightface arcface_torch', _RGB)
# dataloader/dataloader.py and inference/gen_feat.py: cv2.imread, ToTensor, and
# mean 0 and deviation 1. Its models/iresnet.py has its own epsilon.
MAGFACE = Project('MagFace', Pixels('BGR', (0,), (255,)), epsilon=2e-5)
# train.py: ImageFolder, RGB_MEAN and RGB_STD 0.5 of 0..1.
FACE_EVOLVE = Project('face.evoLVe', _RGB)
# data/data_pipe.py: images that MXNet's unpack_img gave, in BGR, are written by
# PIL as if they were RGB, and read as they were written.
INSIGHTFACE_PYTORCH = Project('TreB1eN/InsightFace_Pytorch', _BGR)
# data_processor/train_dataset.py: cv2.imread, (x - 127.5) * 0.0078125.
FACEX_ZOO = Project('FaceX-Zoo', Pixels('BGR', (127.5,), (128,)))
# dataset/datasets.py: PIL, RGB; config.py: 0.5 of 0..1.
CURRICULAR_FACE = Project('CurricularFace', _RGB)
# README.md and inference.py: BGR, 0.5 of 0..1.
ADAFACE = Project('AdaFace', _BGR)
# recognition/torchkit/data/parser.py: cv2, turned to RGB.
TFACE = Project('TFace', _RGB)
# models/base: each network's config.json says which, as `color_space`.
CVLFACE = (Project('CVLface', _RGB), Project('CVLface', _BGR))
# The two constants of its graph; OpenCV's FaceRecognizerSF gives it RGB.
SFACE = Project('OpenCV SFace', Pixels('RGB', (127.5,), (128,)))
# utils/dataset.py: MXNet's decoder, or OpenCV turned to RGB.
QUANTFACE = Project('QuantFace', _RGB)
# dataloader/CASIA_Face_loader.py: scipy.misc.imread, (x - 127.5) / 128.
MOBILEFACENET_PYTORCH = Project(
  'Xiaoccer/MobileFaceNet_Pytorch', Pixels('RGB', (127.5,), (128,))
)
# fixed_image_standardization, of RGB; its networks are the next one's.
FACENET_PYTORCH = Project(
  'facenet-pytorch', Pixels('RGB', (127.5,), (128,)), epsilon=1e-3
)
# The networks of 2018, of 512 numbers, were trained with
# --use_fixed_image_standardization.
FACENET = Project(
  'davidsandberg/facenet', Pixels('RGB', (127.5,), (128,)), epsilon=1e-3
)
