"""The search: six scalars of SCS and MCM tuned with Optuna on Ray Tune, chosen on holdout videos and confirmed on test.

Start with ``__main__`` (the command), then ``runner`` (what happens in which order) and ``searcher`` (ask and tell).
"""
