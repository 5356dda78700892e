"""YAML of the shipped decoders, rollouts and benches: registry names and numbers only."""
