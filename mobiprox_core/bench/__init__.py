"""``mobiprox bench``: a network, exact and approximated, beside other engines.

Every engine works in a process of its own (`worker`), started and asked by `pool`. While one is timed the others wait for a line on
stdin, and a pause before each block lets threads that still spin go to sleep. `comparison` is the overview: load, check the
outputs, time every operator, then rounds of blocks in shuffled order. `ratios` and `noise` say what follows from them.
"""
