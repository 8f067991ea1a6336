"""What every method stands on: the network, its graph, its layers as steps."""
