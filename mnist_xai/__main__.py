"""`python -m mnist_xai` is the command `mnist-xai`."""

from mnist_xai.cli.app import main

if __name__ == "__main__":
    main()
