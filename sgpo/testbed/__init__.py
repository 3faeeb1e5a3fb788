"""A procedural world of problems in which choosing the strategy is the hard part.

Every problem is a short story about a counted thing: a capacity, one known count, a log of changes and a question.
Three things that only the wording tells decide how to reason: is the known count the first or the last one, do the
changes all go the same way or take turns, and is the count asked for or the room that is left. Eight named strategies
follow, and each of the surface stories needs all eight of them.
"""
