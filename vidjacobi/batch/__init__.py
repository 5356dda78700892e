"""Many rollouts over a dataset: ``vidjacobi batch``. From the bottom up:

items       episodes of a shard, contexts of an episode, futures of a context
config      what is asked for, what the results depend on, what may change
manifest    what has been done: logs, the table made of them, what need not be done again
outputs     the files, written so that a kill at any moment loses nothing
contexts    front: from the dataset to contexts that are read and encoded
futures     back: from tokens to frames, next chunk, finished item
lines, feed, memory     bounded lines between threads, what decoding draws from, fewer rows where memory runs out
pipeline    one process: front | decode | back
worker      the model, a shard, the pipeline
local, ray_engine       several workers: processes of this machine, actors of Ray
stop, tally, command, report        signals, progress, the words of the commands, the page
"""
