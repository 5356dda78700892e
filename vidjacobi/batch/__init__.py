"""Many rollouts over a dataset: ``vidjacobi batch``. From the bottom up:

settings        what is asked for, what the results depend on, what may change, shards of a dataset
manifest        what has been done: logs, the table made of them, what need not be done again
future_files    a future's files, written so that a kill at any moment loses nothing
fed_actions     the actions that a future was made with, as they are kept
contexts        the first stage: from the dataset to contexts that are read and encoded
action_feed     which actions a clip is given: its own, another recording's, or none
threads         what the stages share: bounded queues, cancellation, fewer rows where memory runs out
futures         what decoding draws from; from decided tokens to frames, next chunk and finished future
pipeline        one process: read and encode | decode | turn into frames and write
progress        counts and the progress bar
workers         one process with a model and a shard, or several on this machine
ray_engine      workers as actors of Ray
run             a whole run in its folder, with either engine
report          ``report.html`` of a batch
"""
