"""The command line `mnist-xai`."""
