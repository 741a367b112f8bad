"""Past one machine, on Ray."""
