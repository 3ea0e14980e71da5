"""The search: six scalars of SCS and MCM tuned with Optuna on Ray Tune, chosen on holdout videos and confirmed on test.

Start with ``stages`` (a whole search, top to bottom), then ``ledger`` (ask and tell: which run is next, how it ended),
``in_flight`` (runs handed out and heard of) and ``tune_hooks`` (Ray Tune's side). ``api`` is the door from Python,
``__main__`` the one from the command line.
"""
