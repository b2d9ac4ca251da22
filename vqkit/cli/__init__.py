"""The ``vqkit`` command."""
