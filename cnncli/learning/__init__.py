"""Everything that needs TensorFlow and Keras, and the only place that imports them.

The environment is set before the first import, since both read it only once.
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"  # another choice of the user's is for other programs
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors only
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import tensorflow as tf

# ~/.keras/keras.json may say otherwise; everything here is channels-last float32.
keras.config.set_floatx("float32")
keras.config.set_image_data_format("channels_last")
keras.config.set_dtype_policy("float32")

__all__ = ["keras", "tf"]
