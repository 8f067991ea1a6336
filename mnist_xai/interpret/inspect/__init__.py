"""Looking inside a network: activations, units, receptive fields, generated images."""
