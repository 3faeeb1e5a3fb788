"""A procedural world of problems in which choosing the strategy is the hard part.

Every problem is a short story about a counted thing: a capacity, one known count, a log of changes and a question. Two
to six decisions that can only be made from the wording (`decisions`) determine how to reason, such as whether the known
count is the first one or the last. Each combination of decisions is a named strategy, and any story may need any of
them (docs/testbed.md).
"""
