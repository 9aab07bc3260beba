"""From a photo to its labels, without TensorFlow once a network is compiled."""
