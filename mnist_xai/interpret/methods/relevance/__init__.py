"""Methods that propagate relevance back layer by layer."""
