"""`Engine.step`, `run`, and the ports through which both meet the world."""
