from __future__ import annotations

import torch

# The tests' tensors are small: more threads than one only wait for each other, and pytest runs a worker a core.
torch.set_num_threads(1)
