"""What a CUDA device makes of a run: parity with the CPU first, then a table. ``__main__`` is the command."""
