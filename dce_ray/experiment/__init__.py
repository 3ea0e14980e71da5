"""The folder that a search or an ablation writes, and the records in it: what tracking and reports read."""
