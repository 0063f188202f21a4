"""Named places where a test may have the program crash, wait or fail."""
