"""The ops every quantizer is built on, by device. ``dispatch`` says which implementation runs, and why."""
