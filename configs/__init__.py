"""The YAML files of the shipped decoders, rollouts, benches and so on: registry names and numbers only."""
