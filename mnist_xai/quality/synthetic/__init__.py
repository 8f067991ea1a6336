"""Images and functions whose correct explanation is known."""
