"""Configurations: YAML files that hold registry names and numbers only, checked before anything runs."""
