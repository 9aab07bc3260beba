"""How good a model is: scores on labelled images, what they are worth, and how two models compare."""
