"""``python -m vqkit``: the command, for launchers that start modules (``torchrun -m vqkit train …``)."""

from vqkit.cli.app import main

if __name__ == "__main__":
    main()
