"""What may be said of a confirmation, and how sure it is: seeds in two stages, planned comparisons, one sentence.

Reading order: ``stein`` (how many pairs of runs, and their interval), ``judge`` (the planned comparisons), ``verdict``
(the result), ``text`` (the result in words, and what to run next), ``videos`` (the other uncertainty).
``dce_ray.report`` shows what is concluded here.
"""
