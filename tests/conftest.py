from __future__ import annotations

import os

import torch

# The tests' tensors are small: more threads than one only wait for each other, and pytest runs a worker a core.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start
