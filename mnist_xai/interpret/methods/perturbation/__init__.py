"""Methods that mask parts of the image and measure the change of the score."""
