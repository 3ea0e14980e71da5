"""What the runs of a search say of its points: fair scores, a model of the noise, and how sure one can be.

A *point* is a setting of the searched scalars. A *run* trains a point, or the plain baseline, on one *replicate*: one
fold of the train videos held out, and one seed. A point's runs differ in nothing else.
"""
