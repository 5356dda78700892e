"""Programs beside the package: what makes its models and its tables."""
