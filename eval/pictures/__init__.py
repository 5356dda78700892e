"""Are pictures of fast decoders as good as AR's? Distances of sets of pictures, FID first, beside passes."""
