"""What is made of measured runs: tables beside the paper's printed ones, figures, and the page of a search.

From the numbers to the page: ``statistics`` (intervals over seeds), ``measured`` (what finished, by setting),
``tables`` and ``rendering``, ``charts`` and ``figures``, ``page``.
"""
