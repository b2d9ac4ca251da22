"""Other libraries' vocabularies and checkpoints, over vqkit's own engine."""
