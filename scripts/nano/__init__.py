"""nano and micro from nothing: ``render`` makes clips, ``train`` makes models of them, ``judge`` measures both.

Imports point down only: judge -> train -> render -> vidjacobi. ``python scripts/nano`` lists the stages.
"""
