"""What the program does: coordinate, place, scan and drain. Knows the ports and the domain, nothing concrete."""
