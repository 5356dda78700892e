"""Metrics on rollouts. This folder is imported as ``vidjacobi.eval``."""
