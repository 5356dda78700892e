"""Whether predicted frames follow their actions: actions are read off frames by a model fitted on true ones."""
