"""Train, evaluate, use and explain convolutional networks from the terminal."""

__version__ = "0.1.0"
