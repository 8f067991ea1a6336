"""Methods that mask parts of the image and watch the score."""
