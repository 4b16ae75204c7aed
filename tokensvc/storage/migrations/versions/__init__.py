"""One file for each step of the schema, numbered. A step that was released never changes."""
