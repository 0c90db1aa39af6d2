"""Random sequences and phantoms, and a reference to judge their simulation by."""
