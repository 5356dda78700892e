"""Vidjacobi: fast rollouts of autoregressive video world models."""
