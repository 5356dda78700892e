"""Frames in, frames out: encode the context, decode tokens, make frames, chunk after chunk."""
