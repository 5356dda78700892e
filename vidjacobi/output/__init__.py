"""Files and folders of results: whole or not at all, resumed or refused, never in place of foreign ones. Tables."""
