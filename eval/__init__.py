"""Metrics on rollouts (imported as vidjacobi.eval)."""
