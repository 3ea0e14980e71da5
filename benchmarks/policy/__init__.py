"""Which policy finds good scalars, when a run's score is mostly noise?

``python -m benchmarks.policy [repeats=8] [settings=simulated] [policies=all] [budgets=16,32,96] [seed=0] [jobs=1]
[pool=<file>] [work=<folder>] [make=on] [figure=path.png]`` measures the choice; several settings or policies are
separated by semicolons, ``settings=simulated`` is all of those, ``policies=cheap`` leaves out those that take seconds
per search.
``work`` keeps every search in a file, so that the command goes on after a kill, in several processes where wanted, and
``make=off`` shows what is kept there and searches for nothing.
``python -m benchmarks.policy cost [runs=96,300]`` measures the time of one proposal.

There are three kinds of settings:

* *Simulated surfaces*, whose truth is known (``surfaces``).
* ``recorded``: real runs of a pool (``benchmarks.pool``), whose truth comes from other runs. A policy gets a run's
  recorded curve when it asks for that run. It can try no other points than the recorded ones, so a sampler chooses
  among them by its own acquisition (``recorded``).
* ``emulated`` and ``emulated, K=3``: the model fitted to the pool as the truth, the pool's residual curves drawn anew
  as noise; every policy proposes freely (``emulator``).

A budget counts runs. Ours pays for the plain baseline's runs out of it, the peers have none. Ours proposes while the
run before still trains, as the search does. A trial that is stopped early counts as a run, as in
``search.num_trials``; rows with ``equal training`` start further trials until as many iterations were spent as the
budget's full runs have. A search is one sequence: its first 32 runs are the search with a budget of 32.

The value of a policy is the truth at the point that it chooses, above the mean of the space (of the pool's points,
where it is recorded): mean over repetitions, with the half-width of the 95 % interval (Student's t). Each repetition of
a simulated setting is another surface. There is one pool: repetitions there differ in the sampler's seed, in the order
of points and folds and in the noise drawn. On recorded runs the noise of the points' truth, which no repetition
averages out, is added to the interval; which points were recorded, and with what luck, is in no interval. All policies
meet the same surfaces and orders, so that differences are paired.
"""
