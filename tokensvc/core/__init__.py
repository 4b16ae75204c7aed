"""The law: values in, values out. Nothing here asks the world for the time, a file, a socket or a random number."""
