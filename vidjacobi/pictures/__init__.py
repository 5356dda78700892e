"""Pictures of texts and classes: lists of prompts, decoding by rows, the files of a run that can be resumed."""
