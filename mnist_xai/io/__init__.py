"""Files in and out: safe writes, locks, readers, saved models."""
