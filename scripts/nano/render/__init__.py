"""Procedural clips with true camera poses. ``scenes`` has all kinds of them, ``make_data`` writes the training data.

Two renderers: ``plain_room`` traces rays through boxes; ``rasteriser`` draws the textured quads of ``house`` and
``tabletop``. ``photos`` moves a camera over photographs.
"""
