"""Settings: YAML files of registry names and numbers, checked before anything runs."""
