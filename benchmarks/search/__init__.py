"""What a search costs beside its runs, and how many iterations it needs: ``python -m benchmarks.search``."""
