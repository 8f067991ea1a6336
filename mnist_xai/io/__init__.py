"""Reading and writing files: safe writes, locks, data sets, saved models."""
