"""Tokens in, tokens out: the decoders. One pass is in step.py, the loop over passes in jacobi.py."""
