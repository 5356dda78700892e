"""A package, so that another one of this name, which torch-fidelity installs, does not hide the helpers here."""
