"""Files that ship with the package: the world models nano and micro, and the sample clip."""
