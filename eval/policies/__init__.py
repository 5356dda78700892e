"""Policies that act in a world model and in the true world: do they rank alike?"""
