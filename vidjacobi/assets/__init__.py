"""Files that ship with the package: the nano world model and the sample clip."""
