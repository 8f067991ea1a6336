"""Methods that average gradients with respect to the image."""
