"""A recorded pool of runs: real points of a search space on many replicates, so that policies can be judged on them.

``plan`` says which runs, ``record`` trains them, ``table`` keeps them in one Parquet file; ``__main__`` is the command.
"""
