"""How good it is: label maps against ground truth. Knows nothing of how they were made."""
