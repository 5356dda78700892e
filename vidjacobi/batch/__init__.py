"""Many rollouts over a dataset: ``vidjacobi batch``.

One process: ``pipeline.py`` (read, encode | decode | to frames, write). Several: ``local.py``, ``ray_engine.py``.
What is finished: ``manifest.py``. What stands on disk: ``outputs.py``.
"""
